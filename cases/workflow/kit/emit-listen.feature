Feature: Events
  What a run emits, its own tasks hear.

  Scenario: An event of a branch wakes another
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-event-of-a-branch-wakes-another
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - hears:
                  listen:
                    to:
                      one:
                        with:
                          type: com.example.done
              - tells:
                  do:
                    - w:
                        wait: PT0.05S
                    - e:
                        emit:
                          event:
                            with:
                              source: https://example.org
                              type: com.example.done
                              data:
                                n: 5
          output:
            as: .[0]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - n: 5
    """

  Scenario: Events are gathered until a condition holds
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: events-are-gathered-until-a-condition-holds
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - hears:
                  listen:
                    to:
                      any:
                        - with:
                            type: com.example.reading
                            data: ${ .v > 1 }
                      until: ( . | length ) == 2
              - tells:
                  for:
                    each: v
                    in: '[1, 2, 3]'
                  do:
                    - w:
                        wait: PT0.02S
                    - e:
                        emit:
                          event:
                            with:
                              source: https://example.org
                              type: com.example.reading
                              data:
                                v: ${ $v }
          output:
            as: .[0]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - v: 2
    - v: 3
    """

  Scenario: Each event is handled in its turn
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: each-event-is-handled-in-its-turn
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - hears:
                  listen:
                    to:
                      any:
                        - with:
                            type: t
                      until: ( . | length ) == 2
                  foreach:
                    item: e
                    do:
                      - s:
                          set:
                            n: ${ $e.n * 10 }
              - tells:
                  do:
                    - w:
                        wait: PT0.05S
                    - e1:
                        emit:
                          event:
                            with:
                              source: s
                              type: t
                              data: {n: 1}
                    - e2:
                        emit:
                          event:
                            with:
                              source: s
                              type: t
                              data: {n: 2}
          output:
            as: .[0]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - n: 10
    - n: 20
    """

  Scenario: An envelope is read as a whole
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-envelope-is-read-as-a-whole
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - hears:
                  listen:
                    to:
                      one:
                        with:
                          type: t
                    read: envelope
              - tells:
                  do:
                    - w:
                        wait: PT0.05S
                    - e:
                        emit:
                          event:
                            with:
                              source: https://example.org/s
                              type: t
          output:
            as: .[0][0] | [.specversion, .type, .source]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    ['1.0', t, 'https://example.org/s']
    """

  Scenario: An event that came before is heard by who listens later, once
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-event-that-came-before-is-heard-once
      version: '1.0.0'
    do:
      - e:
          for:
            in: '[1, 2, 3]'
          do:
            - said:
                emit:
                  event:
                    with:
                      source: https://stub.example
                      type: com.example.said
                      data:
                        n: ${ $item }
      - first:
          listen:
            to:
              one:
                with:
                  type: com.example.said
          output:
            as: '{first: .[0].n}'
      - others:
          listen:
            to:
              any:
                - with:
                    type: com.example.said
              until: length == 2
          output:
            as: '{first: $task.input.first, others: map(.n)}'
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    first: 1
    others: [2, 3]
    """

  Scenario: Two events that come at once wake two who listen one after the other
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: two-events-at-once
      version: '1.0.0'
    do:
      - both:
          fork:
            branches:
              - one:
                  emit:
                    event:
                      with: {source: 'https://stub.example', type: com.example.said, data: {n: 1}}
              - two:
                  emit:
                    event:
                      with: {source: 'https://stub.example', type: com.example.said, data: {n: 2}}
              - hears:
                  do:
                    - a:
                        listen:
                          to:
                            one:
                              with:
                                type: com.example.said
                        output:
                          as: .[0].n
                    - b:
                        listen:
                          to:
                            one:
                              with:
                                type: com.example.said
                        output:
                          as: '[$task.input, .[0].n]'
          output:
            as: .[2]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    [1, 2]
    """

  Scenario: A wait for events that nobody sends is a fault
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-wait-for-events-that-nobody-sends
      version: '1.0.0'
    do:
      - t:
          try:
            - l:
                listen:
                  to:
                    one:
                      with:
                        type: com.example.never
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/spec/1.0.0/errors/runtime
            do:
              - said:
                  set:
                    n: 1
      - m:
          listen:
            to:
              one:
                with:
                  type: com.example.never
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/runtime
    status: 500
    instance: /do/1/m
    """
    And said should complete

  Scenario: An event with a time that is none is not emitted
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-event-with-a-time-that-is-none-is-not-emitted
      version: '1.0.0'
    do:
      - e:
          emit:
            event:
              with:
                source: https://example.org
                type: com.example.done
                time: ${ .t }
    """
    And given the workflow input is:
    """yaml
    t: noon
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/validation
    status: 400
    instance: /do/0/e
    """
