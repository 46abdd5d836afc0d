Feature: Time limits
  What takes too long is broken off with status 408.

  Scenario: A task that takes too long faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-task-that-takes-too-long-faults
      version: '1.0.0'
    do:
      - w:
          wait: PT30S
          timeout:
            after:
              milliseconds: 50
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout
    status: 408
    instance: /do/0/w
    """

  Scenario: A time limit can be caught
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-time-limit-can-be-caught
      version: '1.0.0'
    do:
      - t:
          try:
            - w:
                wait: PT30S
                timeout:
                  after: PT0.05S
          catch:
            errors:
              with:
                status: 408
            do:
              - s:
                  set:
                    late: true
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    late: true
    """

  Scenario: A time limit may have a name
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-time-limit-may-have-a-name
      version: '1.0.0'
    use:
      timeouts:
        short:
          after: PT0.05S
    do:
      - w:
          wait: PT30S
          timeout: short
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 408
    """

  Scenario: A workflow that takes too long faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-workflow-that-takes-too-long-faults
      version: '1.0.0'
    timeout:
      after: PT0.05S
    do:
      - w:
          wait: PT30S
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 408
    """
    And w should cancel

  Scenario: What is in time is not broken off
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: what-is-in-time-is-not-broken-off
      version: '1.0.0'
    do:
      - a:
          do:
            - w:
                wait: PT0.01S
          timeout:
            after: PT30S
      - b:
          set:
            x: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 1
    """

  Scenario: A workflow that is busy is ended by its time limit
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-workflow-that-is-busy-is-ended-by-its-time-limit
      version: '1.0.0'
    timeout:
      after: PT0.05S
    do:
      - a:
          set:
            n: 1
          then: a
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/timeout
    status: 408
    """

  Scenario: Attempts without end are ended by a time limit
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: attempts-without-end-are-ended-by-a-time-limit
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/e
                    status: 500
          timeout:
            after: PT0.05S
          catch:
            retry: {}
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 408
    instance: /do/0/t
    """
