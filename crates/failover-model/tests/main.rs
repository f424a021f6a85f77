mod resolver;
