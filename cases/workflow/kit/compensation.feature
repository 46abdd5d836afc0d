Feature: Compensation
  `compensate:1.0.0@default` says how what was just done is undone: on a fault the latest comes first.

  Scenario: What was done is undone in reverse
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: what-was-done-is-undone-in-reverse
      version: '1.0.0'
    use:
      functions:
        cancelHotel:
          call: http
          with:
            method: delete
            endpoint: https://stub.example/anything
        cancelFlight:
          call: http
          with:
            method: delete
            endpoint: https://stub.example/anything
    do:
      - hotel:
          set:
            booked: hotel
      - undoHotel:
          call: compensate:1.0.0@default
          with:
            function: cancelHotel
      - flight:
          set:
            booked: flight
      - undoFlight:
          call: compensate:1.0.0@default
          with:
            function: cancelFlight
      - car:
          raise:
            error:
              type: https://example.org/no-car
              status: 404
              title: No car
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://example.org/no-car
    status: 404
    """
    And cancelFlight should run before cancelHotel
    And cancelHotel should run last

  Scenario: What went well is not undone
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: what-went-well-is-not-undone
      version: '1.0.0'
    use:
      functions:
        undo:
          raise:
            error:
              type: https://example.org/undone
              status: 500
    do:
      - noted:
          call: compensate:1.0.0@default
          with:
            function: undo
      - done:
          set:
            done: true
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    done: true
    """

  Scenario: One that cannot be undone keeps no other from it
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: one-that-cannot-be-undone-keeps-no-other-from-it
      version: '1.0.0'
    use:
      functions:
        works:
          set:
            undone: true
        fails:
          raise:
            error:
              type: https://example.org/stuck
              status: 500
    do:
      - first:
          call: compensate:1.0.0@default
          with:
            function: works
      - second:
          call: compensate:1.0.0@default
          with:
            function: fails
      - bad:
          raise:
            error:
              type: https://example.org/bad
              status: 400
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://example.org/bad
    status: 400
    """
    And works should run last

  Scenario: A fault that is caught undoes nothing
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-fault-that-is-caught-undoes-nothing
      version: '1.0.0'
    use:
      functions:
        undo:
          raise:
            error:
              type: https://example.org/undone
              status: 500
    do:
      - noted:
          call: compensate:1.0.0@default
          with:
            function: undo
      - tried:
          try:
            - bad:
                raise:
                  error:
                    type: https://example.org/bad
                    status: 400
          catch:
            do:
              - calm:
                  set:
                    calm: true
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    calm: true
    """
