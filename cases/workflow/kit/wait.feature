Feature: Waiting
  Durations are written as ISO 8601, as maps or as expressions.

  Scenario: A wait hands its input on
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-wait-hands-its-input-on
      version: '1.0.0'
    do:
      - w:
          wait:
            milliseconds: 20
      - s:
          set:
            x: ${ .x + 1 }
    """
    And given the workflow input is:
    """yaml
    x: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 2
    """
    And s should run after w

  Scenario: A wait may be an expression
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-wait-may-be-an-expression
      version: '1.0.0'
    do:
      - w:
          wait: ${ "PT" + .s + "S" }
    """
    And given the workflow input is:
    """yaml
    s: '0.05'
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    s: '0.05'
    """

  Scenario: What is no duration faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: what-is-no-duration-faults
      version: '1.0.0'
    do:
      - w:
          wait: ${ .s }
    """
    And given the workflow input is:
    """yaml
    s: soon
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 400
    instance: /do/0/w
    """
