Feature: Branches
  All branches run; those that compete end with the first.

  Scenario: Outputs stand in the order of the branches
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: outputs-stand-in-the-order-of-the-branches
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - slow:
                  do:
                    - w:
                        wait:
                          milliseconds: 200
                    - s:
                        set:
                          v: slow
              - fast:
                  set:
                    v: fast
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - v: slow
    - v: fast
    """

  Scenario: The first of those that compete wins
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: the-first-of-those-that-compete-wins
      version: '1.0.0'
    do:
      - f:
          fork:
            compete: true
            branches:
              - slow:
                  wait: PT30S
              - fast:
                  set:
                    v: fast
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    v: fast
    """
    And slow should cancel

  Scenario: A branch that faults ends the others
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-branch-that-faults-ends-the-others
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - slow:
                  wait: PT30S
              - bad:
                  raise:
                    error:
                      type: https://example.org/bad
                      status: 500
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://example.org/bad
    status: 500
    instance: /do/0/f/fork/branches/1/bad
    """
    And slow should cancel

  Scenario: Branches see the same input
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: branches-see-the-same-input
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - a:
                  set:
                    n: ${ .n + 1 }
              - b:
                  set:
                    n: ${ .n + 2 }
          output:
            as: map(.n)
    """
    And given the workflow input is:
    """yaml
    n: 10
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    [11, 12]
    """

  Scenario: A branch that is busy loses against one that waits
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-branch-that-is-busy-loses-against-one-that-waits
      version: '1.0.0'
    do:
      - f:
          fork:
            compete: true
            branches:
              - w:
                  do:
                    - nap:
                        wait: PT0.05S
                    - s:
                        set:
                          first: wait
              - b:
                  do:
                    - a:
                        set:
                          n: 1
                        then: a
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    first: wait
    """

  Scenario: A race of nobody hands on its input
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-race-of-nobody-hands-on-its-input
      version: '1.0.0'
    do:
      - f:
          fork:
            compete: true
            branches: []
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 1
    """
