//! TLS to PostgreSQL and to Redis: who is believed, who is not, and what an operator is told.

mod postgres;
mod redis;
