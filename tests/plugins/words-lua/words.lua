local words = {}

function words.total(text)
  local n = 0
  for _ in text:gmatch("%S+") do n = n + 1 end
  return n
end

function words.frequent(text, most)
  local count, order = {}, {}
  for word in text:lower():gmatch("%w+") do
    if not count[word] then order[#order + 1] = word end
    count[word] = (count[word] or 0) + 1
  end
  table.sort(order, function(a, b)
    if count[a] ~= count[b] then return count[a] > count[b] end
    return a < b
  end)
  local found = {}
  for i = 1, math.min(most, #order) do found[i] = { word = order[i], times = count[order[i]] } end
  return found
end

return words
