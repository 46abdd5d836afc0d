Feature: Secrets
  What is declared and given is there; everything else is an error where it is used, and only there.

  Scenario: A secret that is declared and given is there
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-secret-that-is-declared-and-given-is-there
      version: '1.0.0'
    use:
      secrets: [key]
    do:
      - a:
          set:
            v: ${ $secrets.key }
    """
    And the secret 'key' is 'open sesame'
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    v: open sesame
    """

  Scenario: A secret that is not declared is not there
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-secret-that-is-not-declared-is-not-there
      version: '1.0.0'
    use:
      secrets: [key]
    do:
      - a:
          set:
            v: ${ $secrets.other // "none" }
    """
    And the secret 'key' is 'open sesame'
    And the secret 'other' is 'not declared'
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/authorization
    status: 403
    instance: /do/0/a
    """

  Scenario: A secret that is not given is missed where it is used
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-secret-that-is-not-given-is-missed-where-it-is-used
      version: '1.0.0'
    use:
      secrets: [key]
    do:
      - a:
          set:
            n: 1
      - b:
          try:
            - c:
                set:
                  v: ${ $secrets["key"] }
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/spec/1.0.0/errors/authorization
                status: 403
            do:
              - d:
                  set:
                    n: ${ .n + 1 }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 2
    """
    And c should fault

  Scenario: Credentials that are a secret which is not given
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: credentials-that-are-a-secret-which-is-not-given
      version: '1.0.0'
    use:
      secrets: [key]
    do:
      - c:
          call: http
          with:
            method: get
            endpoint:
              uri: https://stub.example/anything
              authentication:
                basic:
                  use: key
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/authorization
    status: 403
    instance: /do/0/c
    """
