Feature: What comes next
  Directives name tasks of the same list.

  Scenario: Exit leaves a list and no more
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: exit-leaves-a-list-and-no-more
      version: '1.0.0'
    do:
      - outer:
          do:
            - a:
                set:
                  x: 1
                then: exit
            - b:
                set:
                  x: 2
      - c:
          set:
            x: ${ .x + 10 }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 11
    """

  Scenario: End completes the workflow from within
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: end-completes-the-workflow-from-within
      version: '1.0.0'
    do:
      - outer:
          do:
            - a:
                set:
                  x: 1
                then: end
      - c:
          set:
            x: 2
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 1
    """

  Scenario: A task may come again
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-task-may-come-again
      version: '1.0.0'
    do:
      - add:
          set:
            n: ${ .n + 1 }
      - again:
          switch:
            - more:
                when: .n < 3
                then: add
            - enough:
                then: end
    """
    And given the workflow input is:
    """yaml
    n: 0
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 3
    """
    And add should run 3 times

  Scenario: A switch without a match goes on
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-switch-without-a-match-goes-on
      version: '1.0.0'
    do:
      - s:
          switch:
            - a:
                when: .k == 1
                then: end
      - b:
          set:
            x: b
    """
    And given the workflow input is:
    """yaml
    k: 2
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: b
    """

  Scenario: End in a branch ends the others
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: end-in-a-branch-ends-the-others
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - slow:
                  wait: PT30S
              - ends:
                  do:
                    - e:
                        set:
                          x: 1
                        then: end
      - c:
          set:
            x: 2
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 1
    """
    And slow should cancel

  Scenario: End in a loop ends the workflow
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: end-in-a-loop-ends-the-workflow
      version: '1.0.0'
    do:
      - l:
          for:
            in: '[1, 2, 3]'
          do:
            - a:
                set:
                  n: ${ $item }
                then: end
      - c:
          set:
            n: 9
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 1
    """
