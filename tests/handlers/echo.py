"""Tells what reached it."""


def handler(event, context):
    """Describe the event and those parts of the context that the platform's headers decide."""
    client = context.client_context
    return {
        "kind": type(event).__name__,
        "event": repr(event)[:200],
        "client": None if client is None else repr(client.custom),
        "identity": repr(context.identity.cognito_identity_id),
        "tenant": getattr(context, "tenant_id", None),
        "arn": context.invoked_function_arn,
    }
