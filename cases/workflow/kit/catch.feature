Feature: Catching
  An error is meant by what its filter says and by conditions.

  Scenario: An error of another type is not caught
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-error-of-another-type-is-not-caught
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            errors:
              with:
                type: https://example.org/other
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://example.org/boom
    status: 503
    title: Boom
    instance: /do/0/t/try/0/r
    """

  Scenario: An error is caught by its status
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-error-is-caught-by-its-status
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            errors:
              with:
                status: 503
            as: e
            do:
              - s:
                  set:
                    title: ${ $e.title }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    title: Boom
    """

  Scenario: A condition may refuse an error
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-condition-may-refuse-an-error
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            exceptWhen: ${ $error.status > 500 }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 503
    """

  Scenario: A caught error may lead elsewhere
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: a-caught-error-may-lead-elsewhere
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            then: c
      - b:
          set:
            x: b
          then: end
      - c:
          set:
            x: c
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: c
    """

  Scenario: An error in a catch is not caught by it
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-error-in-a-catch-is-not-caught-by-it
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://example.org/boom
                    status: 503
                    title: Boom
          catch:
            do:
              - again:
                  raise:
                    error:
                      type: https://example.org/boom
                      status: 503
                      title: Boom
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    status: 503
    instance: /do/0/t/catch/do/0/again
    """

  Scenario: Both names of the standard errors are one
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: both-names-of-the-standard-errors-are-one
      version: '1.0.0'
    do:
      - t:
          try:
            - r:
                raise:
                  error:
                    type: https://serverlessworkflow.io/spec/1.0.0/errors/timeout
                    status: 408
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/dsl/errors/types/timeout
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    {}
    """

  Scenario: An expression that fails can be caught
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-expression-that-fails-can-be-caught
      version: '1.0.0'
    do:
      - t:
          try:
            - s:
                set:
                  x: ${ 1 + {} }
          catch:
            errors:
              with:
                type: https://open-workflow-specification.org/spec/1.0.0/errors/expression
            do:
              - ok:
                  set:
                    x: 0
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 0
    """

  Scenario: An expression that does not end is an error
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: default
      name: an-expression-that-does-not-end-is-an-error
      version: '1.0.0'
    do:
      - t:
          try:
            - s:
                set:
                  x: '${ def f: f; f }'
          catch:
            do:
              - ok:
                  set:
                    x: 0
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    x: 0
    """
