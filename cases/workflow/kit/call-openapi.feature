Feature: Calls by OpenAPI documents
  Redirections, and answers as they came.

  Scenario: A redirection is an error with its status unless it may be one
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-redirection-is-an-error-unless-it-may-be-one
      version: '1.0.0'
    do:
      - t:
          try:
            - c:
                call: openapi
                with:
                  document:
                    endpoint: https://petstore.swagger.io/v2/swagger.json
                  operationId: moved
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/spec/1.0.0/errors/communication
                status: 302
      - d:
          call: openapi
          with:
            document:
              endpoint: https://petstore.swagger.io/v2/swagger.json
            operationId: moved
            redirect: true
            output: response
          output:
            as: '{statusCode, content}'
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    statusCode: 302
    content:
      to: elsewhere
    """
    And c should fault

  Scenario: A raw output is what came
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-raw-output-is-what-came
      version: '1.0.0'
    do:
      - c:
          call: openapi
          with:
            document:
              endpoint: https://petstore.swagger.io/v2/swagger.json
            operationId: getPetById
            parameters:
              petId: 1
            output: raw
          output:
            as: '@base64d | fromjson | .name'
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    pet 1
    """
