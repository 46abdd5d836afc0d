Feature: Conditions of tasks
  `if` is evaluated on the raw input; a task that is left out hands its input on.

  Scenario: A task whose condition holds runs
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-task-whose-condition-holds-runs
      version: '1.0.0'
    do:
      - a:
          if: .go
          set:
            done: true
    """
    And given the workflow input is:
    """yaml
    go: true
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    done: true
    """

  Scenario: A task whose condition does not hold is left out
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-task-whose-condition-does-not-hold-is-left-out
      version: '1.0.0'
    do:
      - a:
          if: .go
          set:
            done: true
      - b:
          set:
            was: ${ .go }
    """
    And given the workflow input is:
    """yaml
    go: false
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    was: false
    """
    And a should be skipped
    And b should run first

  Scenario: A condition may be enclosed
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-condition-may-be-enclosed
      version: '1.0.0'
    do:
      - a:
          if: ${ .n > 2 }
          set:
            big: true
    """
    And given the workflow input is:
    """yaml
    n: 3
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    big: true
    """

  Scenario: The directive of a task that is left out is not followed
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: the-directive-of-a-task-that-is-left-out-is-not-followed
      version: '1.0.0'
    do:
      - a:
          if: 'false'
          set:
            x: 1
          then: end
      - b:
          set:
            x: 2
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 2
    """
