Feature: Extensions
  Tasks before and after others; one that exits stands for the task.

  Scenario: Tasks stand before and after
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: tasks-stand-before-and-after
      version: '1.0.0'
    use:
      extensions:
        - log:
            extend: set
            before:
              - b:
                  set:
                    x: 0
            after:
              - a:
                  set:
                    x: 0
    do:
      - s:
          set:
            n: ${ .n + 1 }
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 2
    """
    And b should run before a
    And b should run 1 times

  Scenario: A call is mocked
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-call-is-mocked
      version: '1.0.0'
    use:
      extensions:
        - mock:
            extend: call
            when: ${ $task.definition.with.method == "get" }
            before:
              - m:
                  set:
                    id: 7
                  then: exit
    do:
      - c:
          call: http
          with:
            method: get
            endpoint: https://nobody.invalid/
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    id: 7
    """
