Feature: Messages of operations that an AsyncAPI document describes

  Scenario: a message is published and is the output
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-publish, version: '1.0.0' }
      do:
        - say:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: say
              message: { payload: { text: '${ .what }' }, headers: { x-number: 7 } }
              authentication: { bearer: { token: t } }
      """
    And given the workflow input is:
      """yaml
      what: hello
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      payload: { text: hello }
      headers: { x-number: 7 }
      """

  Scenario: a message is published over a WebSocket
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-socket, version: '1.0.0' }
      do:
        - say:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              channel: said
              protocol: ws
              message: { payload: { text: hello } }
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      payload: { text: hello }
      headers: {}
      """

  Scenario: a message that does not fit its schema is not published
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-schema, version: '1.0.0' }
      do:
        - say:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: say
              message: { payload: { text: 7 } }
      """
    When the workflow is executed
    Then the workflow should fault with error:
      """yaml
      type: https://open-workflow-specification.org/spec/1.0.0/errors/validation
      status: 400
      instance: /do/0/say
      """

  Scenario: a service that refuses a message is an error of communication
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-refused, version: '1.0.0' }
      do:
        - say:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: say
              message: { payload: { text: hello } }
              authentication: { bearer: { token: wrong } }
      """
    When the workflow is executed
    Then the workflow should fault with error:
      """yaml
      type: https://open-workflow-specification.org/spec/1.0.0/errors/communication
      status: 401
      """

  Scenario: so many messages are consumed that pass a filter
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-amount, version: '1.0.0' }
      do:
        - hear:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: hear
              subscription:
                filter: '${ .payload.n % $context.every == 0 }'
                consume: { amount: 3 }
            output: { as: 'map({ n: .payload.n, id: .headers.id })' }
      """
    And given the workflow input is:
      """yaml
      every: 2
      count: 8
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      [{ n: 2, id: '2' }, { n: 4, id: '4' }, { n: 6, id: '6' }]
      """

  Scenario: messages are consumed while a condition holds
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-while, version: '1.0.0' }
      do:
        - hear:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: hear
              subscription:
                consume: { while: '${ ($context.consumedMessages | length) < 4 }' }
            output: { as: 'map(.payload.n)' }
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      [1, 2, 3, 4]
      """

  Scenario: each message is handled in its turn until a condition holds
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-foreach, version: '1.0.0' }
      do:
        - hear:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: hear
              subscription:
                consume: { until: '${ $context.sum >= 6 }' }
                foreach:
                  item: message
                  at: place
                  do:
                    - add:
                        set: { sum: '${ ($context.sum // 0) + $message.payload.n }' }
                    - tell:
                        call: http
                        with: { method: post, endpoint: 'https://stub.example/anything', body: '${ . }' }
                        output: { as: .body }
                  output: { as: '{ place: $place, sum }' }
                  export: { as: '{ sum: $output.sum }' }
            output: { as: '{ all: ., sum: $context.sum }' }
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      all: [{ place: 0, sum: 1 }, { place: 1, sum: 3 }, { place: 2, sum: 6 }]
      sum: 6
      """
    And tell should run 3 times

  Scenario: messages are consumed for a time
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-for, version: '1.0.0' }
      do:
        - hear:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: hear
              subscription:
                filter: '${ .payload.n > 100 }'
                consume: { amount: 3, for: { milliseconds: 200 } }
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      []
      """

  Scenario: messages come over a WebSocket
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-attend, version: '1.0.0' }
      do:
        - attend:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: attend
              protocol: ws
              subscription:
                filter: '${ .correlationId == "ann" }'
                consume: { amount: 4 }
            output: { as: length }
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      4
      """

  Scenario: a time limit ends a subscription and can be caught
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-limit, version: '1.0.0' }
      do:
        - both:
            try:
              - hear:
                  call: asyncapi
                  with:
                    document: { endpoint: 'https://stub.example/asyncapi.json' }
                    operation: hear
                    subscription: { consume: { amount: 100 } }
                  timeout: { after: { milliseconds: 300 } }
            catch:
              errors: { with: { status: 408 } }
              do:
                - late: { set: { late: true } }
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      late: true
      """

  Scenario: channels of documents of version 2
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-second, version: '1.0.0' }
      do:
        - say:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi2.json' }
              channel: said
              server: { name: main }
              message: { payload: { text: hello } }
        - hear:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi2.json' }
              channel: feed/4
              subscription: { consume: { amount: 4 } }
            output: { as: '[.[].payload.n] | add' }
      """
    When the workflow is executed
    Then the workflow should complete with output:
      """yaml
      10
      """

  Scenario: an operation that the document does not have
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-unknown, version: '1.0.0' }
      do:
        - shout:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: shout
              message: { payload: { text: hello } }
      """
    When the workflow is executed
    Then the workflow should fault with error:
      """yaml
      type: https://open-workflow-specification.org/spec/1.0.0/errors/configuration
      status: 400
      detail: 'the document has no operation `shout`; known: attend, hear, say'
      """

  Scenario: a server that the channel does not have
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-server, version: '1.0.0' }
      do:
        - say:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: say
              server: { name: maine }
              message: { payload: { text: hello } }
      """
    When the workflow is executed
    Then the workflow should fault with error:
      """yaml
      type: https://open-workflow-specification.org/spec/1.0.0/errors/configuration
      detail: 'channel `said` has no server `maine`; known: main, old, socket'
      """

  Scenario: a server whose protocol is not spoken
    Given a workflow with definition:
      """yaml
      document: { dsl: '1.0.3', namespace: kit, name: asyncapi-protocol, version: '1.0.0' }
      do:
        - say:
            call: asyncapi
            with:
              document: { endpoint: 'https://stub.example/asyncapi.json' }
              operation: say
              server: { name: old }
              message: { payload: { text: hello } }
      """
    When the workflow is executed
    Then the workflow should fault with error:
      """yaml
      type: https://open-workflow-specification.org/spec/1.0.0/errors/configuration
      detail: 'server `old` speaks `kafka`, which is not spoken here; known: http, https, mqtt, mqtt5, mqtts, nats, ws, wss'
      """
