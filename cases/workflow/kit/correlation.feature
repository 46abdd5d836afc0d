Feature: Events that belong together
  What correlates is fixed by the first event, or expected.

  Scenario: The first event fixes what the others must have
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: the-first-event-fixes-what-the-others-must-have
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - hears:
                  listen:
                    to:
                      all:
                        - with:
                            type: order
                          correlate:
                            id:
                              from: .data.id
                        - with:
                            type: paid
                          correlate:
                            id:
                              from: .data.id
              - tells:
                  do:
                    - w:
                        wait: PT0.05S
                    - o:
                        emit:
                          event:
                            with: {source: s, type: order, data: {id: 1}}
                    - other:
                        emit:
                          event:
                            with: {source: s, type: paid, data: {id: 2}}
                    - mine:
                        emit:
                          event:
                            with: {source: s, type: paid, data: {id: 1}}
          output:
            as: .[0]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - id: 1
    - id: 1
    """

  Scenario: Only what is expected is heard
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: only-what-is-expected-is-heard
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
                          type: order
                        correlate:
                          id:
                            from: .data.id
                            expect: ${ .mine }
              - tells:
                  do:
                    - w:
                        wait: PT0.05S
                    - a:
                        emit:
                          event:
                            with: {source: s, type: order, data: {id: 1}}
                    - b:
                        emit:
                          event:
                            with: {source: s, type: order, data: {id: 2}}
          output:
            as: .[0]
    """
    And given the workflow input is:
    """yaml
    mine: 2
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - id: 2
    """

  Scenario: Events of an end are no part of the output
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: events-of-an-end-are-no-part-of-the-output
      version: '1.0.0'
    do:
      - f:
          fork:
            branches:
              - hears:
                  listen:
                    to:
                      any: []
                      until:
                        one:
                          with:
                            type: stop
              - tells:
                  do:
                    - w:
                        wait: PT0.05S
                    - a:
                        emit:
                          event:
                            with: {source: s, type: a, data: 1}
                    - b:
                        emit:
                          event:
                            with: {source: s, type: stop}
          output:
            as: .[0]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    [1]
    """
