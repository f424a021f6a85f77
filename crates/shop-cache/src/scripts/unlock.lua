-- Gives up a lock that is still one's own. Key: lock. Argument: token.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
