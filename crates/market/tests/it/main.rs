//! The marketplace on a real database, a real node and real sockets.
