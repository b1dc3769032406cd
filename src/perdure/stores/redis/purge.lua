-- uses: instance notice
-- Delete finished instances and entities that keep nothing: {id, ...}, where an id may be {id, event} for a notice that
-- is kept of it. Answers 1 for each that is gone, else 0.

local function keeps_nothing(id, head)
  return is_entity(head) and not has(head, 'C')
    and call('EXISTS', shard .. 'w:' .. id) == 0 and call('EXISTS', shard .. 'm:' .. id) == 0
end

is_guarded = true
serve = function(given)
  local answers = {}
  for number, asked in ipairs(given) do
    local id = type(asked) == 'table' and asked[1] or asked
    local head = read_head(id)
    answers[number] = 0
    if head and (not is_live(head) or keeps_nothing(id, head)) then
      erase(id, head)
      answers[number] = 1
      if type(asked) == 'table' then post_notice(id, asked[2]) end
    end
  end
  return answers
end
