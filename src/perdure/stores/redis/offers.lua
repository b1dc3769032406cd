-- uses: instance
-- Calls that could be claimed: {how many at most, names}. Answers {since, id, number, ...}.

local PAGES = 10  -- of calls of suspended runs, and the like, that are looked at in vain

local function look(index, most, found)
  local from = '-'
  for _ = 1, PAGES do
    local members = call('ZRANGEBYLEX', shard .. index, from, '[' .. hex(now) .. string.char(255), 'LIMIT', 0, most)
    for _, member in ipairs(members) do
      local id, number = string.sub(member, 17, -18), string.sub(member, -16)
      local head = read_head(id)
      if head and not has(head, 'S') then
        local wait = read_wait(id, number)
        if wait then
          for _, part in ipairs({wait[SINCE], id, number}) do found[#found + 1] = part end
        end
      end
    end
    if #members < most or #found >= 3 * most then return end
    from = '(' .. members[#members]
  end
end

serve = function(given)
  local found = {}
  for _, name in ipairs(given[2]) do
    look('offers:' .. name, given[1], found)
    look('claims:' .. name, given[1], found)
  end
  return found
end
