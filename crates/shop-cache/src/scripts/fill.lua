-- Stores a loaded value, unless what is there is newer than its source. Keys: value, lock.
-- Arguments: position (24 hex digits, or empty if unknown), kind, JSON, milliseconds to live, token of the lock.
-- A position covers another if neither its timeline (8 digits) nor its log position (16) is behind.
if ARGV[5] ~= '' and redis.call('GET', KEYS[2]) == ARGV[5] then
  redis.call('DEL', KEYS[2])
end
local new, old = ARGV[1], redis.call('HGET', KEYS[1], 'position')
if old and old ~= '' then
  if new == '' or string.sub(new, 1, 8) < string.sub(old, 1, 8) or string.sub(new, 9) < string.sub(old, 9) then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'kind', ARGV[2], 'position', new, 'json', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
