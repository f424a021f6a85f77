-- Takes an order's lines out of a cart, once. Keys: cart, note that the order was taken out.
-- Arguments: seconds to keep the note, then product and quantity in turn. Answers 0 if it was done before.
local cart = KEYS[1]
if not redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[1]) then
  return 0
end
for i = 2, #ARGV, 2 do
  local line = redis.call('HGET', cart, ARGV[i])
  if line then
    local turn, quantity = string.match(line, '^(%d+):(%d+)$')
    local left = tonumber(quantity) - tonumber(ARGV[i + 1])
    if left > 0 then
      redis.call('HSET', cart, ARGV[i], turn .. ':' .. left)
    else
      redis.call('HDEL', cart, ARGV[i])
    end
  end
end
return 1
