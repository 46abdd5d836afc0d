Feature: Trying again
  `delay`, `delay · n` or `delay · 2^(n−1)` lie between attempts; the count is that of repetitions.

  Scenario: Attempts end with their count
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: attempts-end-with-their-count
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            retry:
              delay:
                milliseconds: 10
              limit:
                attempt:
                  count: 3
            do:
              - s:
                  set:
                    gave: up
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    gave: up
    """
    And r should run 4 times
    And t should be retried

  Scenario: A policy may have a name
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-policy-may-have-a-name
      version: '1.0.0'
    use:
      retries:
        twice:
          delay: PT0.01S
          backoff:
            exponential: {}
          limit:
            attempt:
              count: 2
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            retry: twice
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    {}
    """
    And r should run 3 times

  Scenario: A policy holds only when its condition does
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-policy-holds-only-when-its-condition-does
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            retry:
              when: ${ $error.status == 404 }
              delay: PT0.01S
              limit:
                attempt:
                  count: 3
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    {}
    """
    And r should run 1 times

  Scenario: Attempts end with their time
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: attempts-end-with-their-time
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            retry:
              delay: PT0.04S
              limit:
                duration: PT0.1S
            do:
              - s:
                  set:
                    x: late
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: late
    """
    And r should run 3 times
