//! The wire between host and guest agent.
