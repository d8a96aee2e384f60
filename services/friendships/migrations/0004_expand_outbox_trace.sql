-- The trace of the request that wrote an event, as a W3C traceparent; null where it is not traced.
ALTER TABLE outbox ADD traceparent text;
