Feature: Arguments of expressions
  What expressions see.

  Scenario: The workflow and the task are seen
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: the-workflow-and-the-task-are-seen
      version: '1.0.0'
    do:
      - a:
          set:
            name: ${ $workflow.definition.document.name }
            task: ${ $task.name }
            at: ${ $task.reference }
            by: ${ $runtime.name }
            raw: ${ $workflow.input.n }
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    name: the-workflow-and-the-task-are-seen
    task: a
    at: /do/0/a
    by: sos
    raw: 1
    """

  Scenario: Secrets are seen
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: secrets-are-seen
      version: '1.0.0'
    use:
      secrets: [key]
    do:
      - a:
          set:
            k: ${ $secrets.key }
    """
    And the secret 'key' is 'hidden'
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    k: hidden
    """

  Scenario: Loosely every text may be an expression
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: loosely-every-text-may-be-an-expression
      version: '1.0.0'
    evaluate:
      mode: loose
    do:
      - a:
          set:
            n: .n + 1
            text: as it is
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 2
    text: as it is
    """

  Scenario: Loosely what fails is what is written
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: loosely-what-fails-is-what-is-written
      version: '1.0.0'
    evaluate:
      mode: loose
    do:
      - a:
          set:
            x: ${ .n.a }
            y: '${ .n + 1 }'
    output:
      as: '{x, y, z: "not an expression at all"}'
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: ${ .n.a }
    y: 2
    z: not an expression at all
    """

  Scenario: Several outputs are a list
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: several-outputs-are-a-list
      version: '1.0.0'
    do:
      - a:
          set:
            all: ${ .items[] | . * 2 }
            none: ${ empty }
    """
    And given the workflow input is:
    """yaml
    items: [1, 2]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    all: [2, 4]
    none: null
    """
