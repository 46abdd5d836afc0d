Feature: Setting
  What is set replaces what was there.

  Scenario: Nothing of the input is kept
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: nothing-of-the-input-is-kept
      version: '1.0.0'
    do:
      - a:
          set:
            x: 1
    """
    And given the workflow input is:
    """yaml
    y: 2
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 1
    """

  Scenario: An expression may be the whole of it
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-expression-may-be-the-whole-of-it
      version: '1.0.0'
    do:
      - a:
          set: ${ .list | add }
    """
    And given the workflow input is:
    """yaml
    list: [1, 2, 3]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    6
    """

  Scenario: Expressions stand as deep as they like
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: expressions-stand-as-deep-as-they-like
      version: '1.0.0'
    do:
      - a:
          set:
            l:
              - x: ${ .n }
              - [plain, '${ .n + 1 }']
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    l:
      - x: 1
      - [plain, 2]
    """

  Scenario: Nulls and numbers stay what they are
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: nulls-and-numbers-stay-what-they-are
      version: '1.0.0'
    do:
      - a:
          set:
            n: null
            f: 1.5
            t: '1.5'
            missing: ${ .nothing }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: null
    f: 1.5
    t: '1.5'
    missing: null
    """

  Scenario: A path that is not there is made
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-path-that-is-not-there-is-made
      version: '1.0.0'
    do:
      - a:
          set: '${ .order.status = "paid" | .total = ([1, 3] | add / length) }'
          export:
            as: '$context | .stats.count += 1'
      - b:
          set:
            order: ${ .order }
            total: ${ "\(.total)" }
            count: ${ $context.stats.count }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    order: {status: paid}
    total: '2'
    count: 1
    """
