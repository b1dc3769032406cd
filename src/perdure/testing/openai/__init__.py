"""A language model behind the OpenAI protocol for tests: the prompt decides what it answers, offline and for nothing.

```python
with FakeOpenAI() as model:
    client = openai.OpenAI(base_url=model.url, api_key="any")
    client.chat.completions.create(model="any", messages=[{"role": "user", "content": "[[say Hello]]"}])
    assert len(model.requests) == 1
```

As a process: `python -m perdure.testing.openai --port 8001`. What a prompt may ask for is told in `markers`.
"""

from perdure.testing.openai.answers import Answer, Call, answer_by_prompt
from perdure.testing.openai.faults import Fault
from perdure.testing.openai.server import FakeOpenAI, Seen

__all__ = ["FakeOpenAI", "Fault", "Seen", "Answer", "Call", "answer_by_prompt"]
