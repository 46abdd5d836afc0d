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

  Scenario: The task that is extended is seen
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: the-task-that-is-extended-is-seen
      version: '1.0.0'
    use:
      extensions:
        - log:
            extend: set
            when: $task.set.n == 1
            before:
              - b:
                  set:
                    at: ${ "Executing task '\($task.reference)'..." }
                  export:
                    as: '[.at]'
            after:
              - a:
                  set:
                    at: ${ "Executed task '\($task.reference)'..." }
                    output: ${ $task.output }
                  export:
                    as: $context + [.at, .output]
    do:
      - s:
          set:
            n: 1
      - t:
          set:
            n: 2
    output:
      as: $context
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - Executing task '/do/0/s'...
    - Executed task '/do/0/s'...
    - n: 1
    """
    And b should run 1 times

  Scenario: A call is mocked by its address
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-call-is-mocked-by-its-address
      version: '1.0.0'
    use:
      extensions:
        - mock:
            extend: call
            when: $task.call == "http" and ($task.with.endpoint.uri | startswith("https://nobody.invalid"))
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
            endpoint:
              uri: https://nobody.invalid/
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    id: 7
    """
