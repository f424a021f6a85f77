-- Leaves a marker in place of a value that a write has made old. Key: value. Arguments: position of the write, milliseconds to live.
-- What is there and has seen that write stays.
local new, old = ARGV[1], redis.call('HGET', KEYS[1], 'position')
if old and old ~= '' then
  local seen = string.sub(old, 1, 8) >= string.sub(new, 1, 8) and string.sub(old, 9) >= string.sub(new, 9)
  if seen then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'kind', 'marker', 'position', new, 'json', '')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
