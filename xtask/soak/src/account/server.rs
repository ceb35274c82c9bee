//! A server on loopback that ticks whether or not anybody listens.

mod answer_order;
mod client_connection;
mod close_policy;
mod connection_state;
mod frame;
mod pending_answer;
mod running_server;
mod server_command;
mod server_order;
mod subscription_policy;
mod tick_server;

pub(super) use self::answer_order::AnswerOrder;
pub(super) use self::running_server::RunningServer;
pub(super) use self::server_command::ServerCommand;
