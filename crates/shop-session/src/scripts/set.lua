-- Sets the quantity of one product. Keys: cart. Arguments: product, quantity, lines at most, seconds to live.
-- Answers 0 if the cart is full.
local cart, product, quantity = KEYS[1], ARGV[1], tonumber(ARGV[2])
if quantity == 0 then
  redis.call('HDEL', cart, product)
  return 1
end
local line = redis.call('HGET', cart, product)
local turn
if line then
  turn = string.match(line, '^(%d+):')
else
  -- The field `turn` is no line.
  if redis.call('HLEN', cart) - 1 >= tonumber(ARGV[3]) then
    return 0
  end
  turn = redis.call('HINCRBY', cart, 'turn', 1)
end
redis.call('HSET', cart, product, turn .. ':' .. ARGV[2])
redis.call('EXPIRE', cart, ARGV[4])
return 1
