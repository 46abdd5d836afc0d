Feature: Schemas
  What does not fit a schema is an error of validation.

  Scenario: An input that does not fit faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-input-that-does-not-fit-faults
      version: '1.0.0'
    input:
      schema:
        document:
          type: object
          required: [name]
    do:
      - a:
          set:
            x: 1
    """
    And given the workflow input is:
    """yaml
    nam: x
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/validation
    status: 400
    """

  Scenario: An input of a task is checked as it comes
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-input-of-a-task-is-checked-as-it-comes
      version: '1.0.0'
    do:
      - a:
          input:
            schema:
              document:
                properties:
                  n:
                    type: integer
            from: .n
          set:
            x: ${ . }
    """
    And given the workflow input is:
    """yaml
    n: text
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 400
    instance: /do/0/a
    """

  Scenario: An output of a task is checked as it goes
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-output-of-a-task-is-checked-as-it-goes
      version: '1.0.0'
    do:
      - a:
          set:
            n: 1
          output:
            as: .n
            schema:
              document:
                type: integer
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    1
    """

  Scenario: A context that does not fit faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-context-that-does-not-fit-faults
      version: '1.0.0'
    do:
      - a:
          set:
            n: 1
          export:
            as: .n
            schema:
              document:
                type: string
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 400
    instance: /do/0/a
    """

  Scenario: A schema elsewhere is asked for by who the document says
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-schema-elsewhere-is-asked-for-by-someone
      version: '1.0.0'
    use:
      secrets: [key]
      authentications:
        own:
          basic:
            username: anna
            password: ${ $secrets.key }
    input:
      schema:
        resource:
          endpoint:
            uri: https://stub.example/basic-auth/anna/sesame
            authentication:
              use: own
    do:
      - a:
          set:
            n: ${ .n }
    """
    And the secret 'key' is 'sesame'
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 1
    """
