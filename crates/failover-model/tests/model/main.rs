mod protocol;
mod resolver;
