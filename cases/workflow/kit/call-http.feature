Feature: Calls over HTTP
  Methods, bodies, headers, queries, outputs, redirects, credentials.

  Scenario: Body, headers and query are sent
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: body-headers-and-query-are-sent
      version: '1.0.0'
    do:
      - c:
          call: http
          with:
            method: post
            endpoint: https://stub.example/anything
            headers:
              x-who: ${ .who }
            query:
              n: ${ .n }
            body:
              n: ${ .n + 1 }
          output:
            as: '{method, query, body, who: .headers["x-who"], type: .headers["content-type"]}'
    """
    And given the workflow input is:
    """yaml
    who: anna
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    method: POST
    query: n=1
    body: {n: 2}
    who: anna
    type: application/json
    """

  Scenario: A repeated call can be told from another
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-repeated-call-can-be-told-from-another
      version: '1.0.0'
    do:
      - c:
          call: http
          with:
            method: post
            endpoint: https://stub.example/anything
          output:
            as: .headers["idempotency-key"] | endswith("/do/0/c")
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    true
    """

  Scenario: A status beyond 299 faults with it
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-status-beyond-299-faults-with-it
      version: '1.0.0'
    do:
      - c:
          call: http
          with:
            method: get
            endpoint: https://stub.example/status/503
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/communication
    status: 503
    instance: /do/0/c
    """

  Scenario: A redirect is an error unless it may be one
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-redirect-is-an-error-unless-it-may-be-one
      version: '1.0.0'
    do:
      - t:
          try:
            - c:
                call: http
                with:
                  method: get
                  endpoint: https://stub.example/status/302
          catch:
            errors:
              with:
                status: 302
      - d:
          call: http
          with:
            method: get
            endpoint: https://stub.example/status/302
            redirect: true
            output: response
          output:
            as: .statusCode
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    302
    """

  Scenario: A raw answer is in base64
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-raw-answer-is-in-base64
      version: '1.0.0'
    do:
      - c:
          call: http
          with:
            method: get
            endpoint: https://petstore.swagger.io/v2/pet/1
            output: raw
          output:
            as: . | @base64d | fromjson | .id
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    1
    """

  Scenario: Bearer tokens are sent
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: bearer-tokens-are-sent
      version: '1.0.0'
    use:
      secrets: [token]
      authentications:
        mine:
          bearer:
            token: ${ $secrets.token }
    do:
      - c:
          call: http
          with:
            method: get
            endpoint:
              uri: https://stub.example/bearer
              authentication:
                use: mine
          output:
            as: .token
    """
    And the secret 'token' is 'abc'
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    abc
    """

  Scenario: Wrong credentials fault with 401
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: wrong-credentials-fault-with-401
      version: '1.0.0'
    do:
      - c:
          call: http
          with:
            method: get
            endpoint:
              uri: https://httpbin.org/basic-auth/a/b
              authentication:
                basic:
                  username: a
                  password: wrong
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 401
    """

  Scenario: Many calls at once
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: many-calls-at-once
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - c0:
                  call: http
                  with:
                    method: get
                    endpoint: https://petstore.swagger.io/v2/pet/0
              - c1:
                  call: http
                  with:
                    method: get
                    endpoint: https://petstore.swagger.io/v2/pet/1
              - c2:
                  call: http
                  with:
                    method: get
                    endpoint: https://petstore.swagger.io/v2/pet/2
          output:
            as: map(.id)
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    [0, 1, 2]
    """

  Scenario: Credentials are those of a secret
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: credentials-are-those-of-a-secret
      version: '1.0.0'
    use:
      secrets:
        - login
    do:
      - c:
          call: http
          with:
            method: get
            endpoint:
              uri: https://httpbin.org/basic-auth/anna/hush
              authentication:
                basic:
                  use: login
          output:
            as: .user
    """
    And the secret 'login' is '{"username": "anna", "password": "hush"}'
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    anna
    """

  Scenario: An address from an expression is no template
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-address-from-an-expression-is-no-template
      version: '1.0.0'
    do:
      - own:
          call: http
          with:
            method: get
            endpoint: https://stub.example/status/{code}
          output:
            as: '{code: 404, at: "https://stub.example/status/20{zero}"}'
      - given:
          try:
            - c:
                call: http
                with:
                  method: get
                  endpoint: ${ .at }
          catch:
            errors:
              with:
                status: 404
      - object:
          input:
            from: '{zero: 0, at: "https://stub.example/status/20{zero}"}'
          try:
            - d:
                call: http
                with:
                  method: get
                  endpoint:
                    uri: ${ .at }
          catch:
            errors:
              with:
                status: 404
            do:
              - done:
                  set:
                    ok: true
    """
    And given the workflow input is:
    """yaml
    code: 200
    zero: 0
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    ok: true
    """
    And c should fault
    And d should fault

  Scenario: Who a call says that it comes from is seen
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: who-a-call-says-that-it-comes-from-is-seen
      version: '1.0.0'
    use:
      secrets: [token]
      authentications:
        mine:
          bearer:
            token: ${ $secrets.token }
    do:
      - c:
          call: http
          with:
            method: post
            endpoint:
              uri: https://stub.example/anything
              authentication:
                use: mine
            body:
              by: ${ $authorization.scheme }
          output:
            as: '{by: .body.by, scheme: $authorization.scheme, known: ($authorization.parameter == $secrets.token)}'
    """
    And the secret 'token' is 'hidden'
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    by: Bearer
    scheme: Bearer
    known: true
    """
