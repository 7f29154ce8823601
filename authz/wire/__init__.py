"""All that knows protobuf and gRPC: CheckRequest in, CheckResponse out, and the server between them."""
