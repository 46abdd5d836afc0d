Feature: Functions
  A function takes its arguments as input.

  Scenario: A function of the document is called
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-function-of-the-document-is-called
      version: '1.0.0'
    use:
      functions:
        double:
          set:
            n: ${ .n * 2 }
    do:
      - c:
          call: double
          with:
            n: ${ .x + 1 }
    """
    And given the workflow input is:
    """yaml
    x: 3
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 8
    """

  Scenario: A function calls over HTTP
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-function-calls-over-http
      version: '1.0.0'
    use:
      functions:
        getPet:
          call: http
          with:
            method: get
            endpoint: https://petstore.swagger.io/v2/pet/{petId}
    do:
      - c:
          call: getPet
          with:
            petId: 2
          output:
            as: .id
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    2
    """

  Scenario: A function that calls itself faults
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-function-that-calls-itself-faults
      version: '1.0.0'
    use:
      functions:
        again:
          call: again
    do:
      - c:
          call: again
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 500
    """

  Scenario: A catalogue is asked by who the document says
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-catalogue-is-asked-by-someone
      version: '1.0.0'
    use:
      catalogs:
        own:
          endpoint:
            uri: https://stub.example/closed
            authentication:
              bearer:
                token: open
    do:
      - greet:
          call: greet:1.0.0@own
          with:
            name: Anna
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    greeting: Hello Anna
    """
