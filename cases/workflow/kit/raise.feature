Feature: Raising
  Errors are inline or declared.

  Scenario: A declared error is raised with expressions
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-declared-error-is-raised-with-expressions
      version: '1.0.0'
    use:
      errors:
        dear:
          type: https://example.org/dear
          status: 402
          title: Too dear
          detail: ${ "\(.price) is too much" }
    do:
      - r:
          raise:
            error: dear
    """
    And given the workflow input is:
    """yaml
    price: 5
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://example.org/dear
    status: 402
    title: Too dear
    detail: 5 is too much
    instance: /do/0/r
    """

  Scenario: An error may name another instance
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-error-may-name-another-instance
      version: '1.0.0'
    do:
      - r:
          raise:
            error:
              type: https://example.org/x
              status: 400
              instance: /do/7/elsewhere
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    instance: /do/7/elsewhere
    """

  Scenario: Tasks after an error do not run
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: tasks-after-an-error-do-not-run
      version: '1.0.0'
    do:
      - r:
          raise:
            error:
              type: https://example.org/x
              status: 400
      - b:
          set:
            x: 1
    """
    When the workflow is executed
    Then the workflow should fault
    And r should fault
    And b should run 0 times

  Scenario: What an error says may be no text
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: what-an-error-says-may-be-no-text
      version: '1.0.0'
    do:
      - r:
          raise:
            error:
              type: https://example.org/e
              status: 400
              title: ${ .n }
              detail: ${ . }
    """
    And given the workflow input is:
    """yaml
    n: 7
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 400
    title: '7'
    detail: '{"n":7}'
    """
