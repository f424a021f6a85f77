-- Moves a guest's lines into a person's cart. Keys: guest's cart, person's cart. Arguments: lines at most, seconds to live.
local guest, person = KEYS[1], KEYS[2]
local found = redis.call('HGETALL', guest)
local lines = {}
for i = 1, #found, 2 do
  local turn, quantity = string.match(found[i + 1], '^(%d+):(%d+)$')
  if turn then
    table.insert(lines, { product = found[i], turn = tonumber(turn), quantity = tonumber(quantity) })
  end
end
table.sort(lines, function(a, b) return a.turn < b.turn end)
for _, line in ipairs(lines) do
  local own = redis.call('HGET', person, line.product)
  if own then
    local turn, quantity = string.match(own, '^(%d+):(%d+)$')
    if tonumber(quantity) < line.quantity then
      redis.call('HSET', person, line.product, turn .. ':' .. line.quantity)
    end
  elseif redis.call('HLEN', person) - 1 < tonumber(ARGV[1]) then
    local turn = redis.call('HINCRBY', person, 'turn', 1)
    redis.call('HSET', person, line.product, turn .. ':' .. line.quantity)
  end
end
if #lines > 0 then
  redis.call('EXPIRE', person, ARGV[2])
end
redis.call('DEL', guest)
return #lines
