Feature: Loops
  Each iteration takes the output of the one before.

  Scenario: A loop ends by its condition
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-loop-ends-by-its-condition
      version: '1.0.0'
    do:
      - l:
          for:
            each: x
            in: .items
          while: .sum < 4
          do:
            - add:
                set:
                  sum: ${ .sum + $x }
                  items: ${ .items }
    """
    And given the workflow input is:
    """yaml
    items: [1, 2, 3, 4]
    sum: 0
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sum: 6
    items: [1, 2, 3, 4]
    """
    And add should run 3 times

  Scenario: A loop over nothing hands its input on
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-loop-over-nothing-hands-its-input-on
      version: '1.0.0'
    do:
      - l:
          for:
            in: .items
          do:
            - a:
                set:
                  x: 1
    """
    And given the workflow input is:
    """yaml
    items: []
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    items: []
    """

  Scenario: A loop over a written list
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-loop-over-a-written-list
      version: '1.0.0'
    do:
      - l:
          for:
            in: [{ n: 1 }, { n: 2 }, { n: 3 }]
          do:
            - a:
                set:
                  sum: ${ .sum + $item.n }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sum: 6
    """

  Scenario: A loop over what is no list faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-loop-over-what-is-no-list-faults
      version: '1.0.0'
    do:
      - l:
          for:
            in: .n
          do:
            - a:
                set:
                  x: 1
    """
    And given the workflow input is:
    """yaml
    n: 5
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/expression
    status: 400
    instance: /do/0/l
    """

  Scenario: Loops stand in each other
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: loops-stand-in-each-other
      version: '1.0.0'
    do:
      - rows:
          for:
            each: row
            in: '[1, 2]'
            at: r
          do:
            - columns:
                for:
                  each: column
                  in: '[10, 20]'
                  at: c
                do:
                  - cell:
                      set:
                        cells: ${ .cells + [$row * $column + $r + $c] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    cells: [10, 21, 21, 42]
    """
    And cell should run 4 times

  Scenario: Exit ends an iteration and not the loop
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: exit-ends-an-iteration-and-not-the-loop
      version: '1.0.0'
    do:
      - l:
          for:
            in: '[1, 2, 3]'
          do:
            - a:
                set:
                  n: ${ .n + 1 }
                then: exit
            - b:
                set:
                  n: 100
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 3
    """
