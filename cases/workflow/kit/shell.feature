Feature: Commands
  Where they are allowed.

  Scenario: What a command writes comes out
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: what-a-command-writes-comes-out
      version: '1.0.0'
    do:
      - s:
          run:
            shell:
              command: echo
              arguments: ["it's", "${ .who }"]
    """
    And given the workflow input is:
    """yaml
    who: anna
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    "it's anna\n"
    """

  Scenario: Input and environment are given
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: input-and-environment-are-given
      version: '1.0.0'
    do:
      - s:
          run:
            shell:
              command: cat; echo -n $WHO
              stdin: ${ .text }
              environment:
                WHO: anna
    """
    And given the workflow input is:
    """yaml
    text: 'hi '
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    hi anna
    """

  Scenario: All of it comes out
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: all-of-it-comes-out
      version: '1.0.0'
    do:
      - s:
          run:
            shell:
              command: echo -n out; echo -n err >&2; exit 3
            return: all
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    code: 3
    stdout: out
    stderr: err
    """

  Scenario: A command that fails faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-command-that-fails-faults
      version: '1.0.0'
    do:
      - s:
          run:
            shell:
              command: exit 3
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/runtime
    status: 500
    instance: /do/0/s
    """

  Scenario: A command that takes too long is ended with all it started
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-command-that-takes-too-long-is-ended-with-all-it-started
      version: '1.0.0'
    do:
      - s:
          run:
            shell:
              command: sleep 30 & wait
          timeout:
            after: PT0.2S
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 408
    """

  Scenario: A script names its arguments
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-script-names-its-arguments
      version: '1.0.0'
    do:
      - s:
          run:
            shell:
              command: |
                read line
                echo -n "$line $2 $1"
              stdin: said
              arguments: ["it's", b c]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    said b c it's
    """

  Scenario: What is not waited for hands on its input
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: what-is-not-waited-for-hands-on-its-input
      version: '1.0.0'
    do:
      - s:
          run:
            shell:
              command: exit 3
            await: false
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 1
    """
