Feature: Context
  `export` replaces the context.

  Scenario: What is exported is there for later tasks
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: what-is-exported-is-there-for-later-tasks
      version: '1.0.0'
    do:
      - a:
          set:
            n: 1
          export:
            as: '{kept: .n}'
      - b:
          set:
            x: ${ $context.kept + 1 }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 2
    """

  Scenario: Exports see input, output and the context before
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: exports-see-input-output-and-the-context-before
      version: '1.0.0'
    do:
      - a:
          input:
            from: .n
          set:
            m: ${ . * 2 }
          output:
            as: .m
          export:
            as: '{in: $input, out: $output, before: $context.n}'
      - b:
          set: ${ $context }
    """
    And given the workflow input is:
    """yaml
    n: 4
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    in: 4
    out: 8
    before: 4
    """

  Scenario: The output of a workflow sees the context
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: the-output-of-a-workflow-sees-the-context
      version: '1.0.0'
    output:
      as: '{n: ., all: $context}'
    do:
      - a:
          set:
            n: 1
          output:
            as: .n
          export:
            as: '[$output]'
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 1
    all: [1]
    """

  Scenario: The output before it was transformed is seen
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: the-output-before-it-was-transformed-is-seen
      version: '1.0.0'
    do:
      - a:
          set:
            a: 1
          output:
            as: .a
          export:
            as: '{raw: $task.output, out: $output}'
    output:
      as: $context
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    raw:
      a: 1
    out: 1
    """
