package compat;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.dapr.durabletask.DurableTaskClient;
import io.dapr.durabletask.OrchestrationMetadata;
import io.dapr.durabletask.OrchestrationStatusQuery;
import io.dapr.durabletask.OrchestrationStatusQueryResult;
import io.dapr.workflows.client.DaprWorkflowClient;
import io.dapr.workflows.client.WorkflowRuntimeStatus;
import io.dapr.workflows.client.WorkflowState;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeoutException;

/** What the client drives and asserts; `hub` is the client beneath, for what Dapr's own does not show. */
final class Scenarios {
  private static final Duration PATIENCE = Duration.ofSeconds(45);
  private static final long POLL_MILLISECONDS = 50;
  private static final Set<Status.Code> AWAY =
      EnumSet.of(Status.Code.CANCELLED, Status.Code.INTERNAL, Status.Code.UNAVAILABLE);
  private static final Map<String, Object> NOTHING = Map.of();

  private final DaprWorkflowClient client;
  private final DurableTaskClient hub;
  private final String prefix;

  Scenarios(DaprWorkflowClient client, DurableTaskClient hub, String prefix) {
    this.client = client;
    this.hub = hub;
    this.prefix = prefix;
  }

  Map<String, Object> run(String scenario) throws Exception {
    return switch (scenario) {
      case "chaining" -> completed(start("chaining", 1), 4);
      case "fan-out-50" -> fanOut();
      case "child" -> completed(start("parent", 21), 42);
      case "timer" -> timer();
      case "event-before" -> eventBefore();
      case "event-after" -> eventAfter();
      case "event-timeout" -> completed(start("event_or_timeout", null), "timed out");
      case "retry-third" -> retryThird();
      case "retry-exhausted" -> retryExhausted();
      case "continue-as-new" -> continueAsNew();
      case "custom-status" -> customStatus();
      case "suspend-resume" -> suspendResume();
      case "terminate-recursive" -> Map.of("unsupported", "terminateWorkflow cannot ask for recursion");
      case "purge" -> purge();
      case "query-list" -> queryList();
      case "failure-cause" -> failureCause();
      case "payload-200k" -> payload();
      case "history-1000" -> completed(start("long", null), Workflows.LONG);
      case "worker-killed-turn" -> killed("killed_turn", Map.of("first", 1, "second", 1));
      case "worker-killed-activity" -> killed("killed_activity", Map.of("first", 1, "slow", 2));
      case "server-restarted" -> restarted();
      default -> throw new IllegalArgumentException("no scenario " + scenario);
    };
  }

  private Map<String, Object> fanOut() throws Exception {
    completed(start("fan_out", prefix + "-squares"), 40_425);
    return ran(Map.of("squares", Workflows.FAN));
  }

  private Map<String, Object> timer() throws Exception {
    long started = System.nanoTime();
    completed(start("timer", null), "fired");
    double seconds = (System.nanoTime() - started) / 1e9;
    check(seconds >= 1, "fired after " + seconds + " s");
    return Map.of("seconds", seconds);
  }

  private Map<String, Object> eventBefore() throws Exception {
    String id = start("event_after_timer", null);
    client.raiseEvent(id, "parcel", "early");
    return completed(id, "early");
  }

  private Map<String, Object> eventAfter() throws Exception {
    String id = start("event", null);
    hasCustomStatus(id, "waiting");
    client.raiseEvent(id, "parcel", "late");
    return completed(id, "late");
  }

  private Map<String, Object> retryThird() throws Exception {
    completed(start("retried", new Workflows.Flaky(prefix + "-attempts", 2, 5)), 3);
    return ran(Map.of("attempts", 3));
  }

  private Map<String, Object> retryExhausted() throws Exception {
    WorkflowState state = outcome(start("retried", new Workflows.Flaky(prefix + "-attempts", 9, 3)));
    equal(state.getRuntimeStatus(), WorkflowRuntimeStatus.FAILED);
    check(state.getFailureDetails().getErrorMessage().contains("not yet"), state.getFailureDetails().getErrorMessage());
    return ran(Map.of("attempts", 3));
  }

  private Map<String, Object> continueAsNew() throws Exception {
    String id = start("collect", List.of());
    for (int item = 1; item <= Workflows.EVENTS; item++) {
      client.raiseEvent(id, "item", item);
    }
    // Sorted, because this SDK hands on the events that it keeps in an order of its own.
    Integer[] items = outcome(id).readOutputAs(Integer[].class);
    equal(Arrays.stream(items).sorted().toList(), List.of(1, 2, 3, 4, 5));
    return Map.of("order", "the SDK does not keep it");
  }

  private Map<String, Object> customStatus() throws Exception {
    String id = start("statuses", null);
    hasCustomStatus(id, "before");
    client.raiseEvent(id, "parcel", "");
    equal(outcome(id).getRuntimeStatus(), WorkflowRuntimeStatus.COMPLETED);
    equal(hub.getInstanceMetadata(id, true).readCustomStatusAs(String.class), "after");
    return NOTHING;
  }

  private Map<String, Object> suspendResume() throws Exception {
    String id = start("event", null);
    hasCustomStatus(id, "waiting");
    client.suspendWorkflow(id, "a pause");
    hasStatus(id, WorkflowRuntimeStatus.SUSPENDED);
    client.raiseEvent(id, "parcel", "kept");
    Thread.sleep(1000);
    hasStatus(id, WorkflowRuntimeStatus.SUSPENDED);
    client.resumeWorkflow(id, "go on");
    return completed(id, "kept");
  }

  private Map<String, Object> purge() throws Exception {
    String id = start("chaining", 1);
    completed(id, 4);
    equal(client.purgeWorkflow(id), true);
    equal(hub.getInstanceMetadata(id, true).isInstanceFound(), false);
    equal(client.purgeWorkflow(prefix + "-unknown"), false);
    return NOTHING;
  }

  private Map<String, Object> queryList() throws Exception {
    List<String> ids = List.of(prefix + "-1", prefix + "-2", prefix + "-3");
    for (String id : ids) {
      client.scheduleNewWorkflow("chaining", 1, id);
    }
    for (String id : ids) {
      outcome(id);
    }
    OrchestrationStatusQuery query = new OrchestrationStatusQuery().setInstanceIdPrefix(prefix).setMaxInstanceCount(2);
    List<String> found = new ArrayList<>();
    do {
      OrchestrationStatusQueryResult page = hub.queryInstances(query);
      check(page.getOrchestrationState().size() <= 2, "a page of " + page.getOrchestrationState().size());
      page.getOrchestrationState().stream().map(OrchestrationMetadata::getInstanceId).forEach(found::add);
      query.setContinuationToken(page.getContinuationToken());
    } while (query.getContinuationToken() != null && !query.getContinuationToken().isEmpty());
    equal(found.stream().sorted().toList(), ids);
    return Map.of("queried", found.size());
  }

  private Map<String, Object> failureCause() throws Exception {
    WorkflowState state = outcome(start("failing", null));
    equal(state.getRuntimeStatus(), WorkflowRuntimeStatus.FAILED);
    String type = state.getFailureDetails().getErrorType();
    String message = state.getFailureDetails().getErrorMessage();
    check(message.contains("the parcel is lost"), message);
    check(type.endsWith("TaskFailedException"), type);
    return Map.of("type", type, "message", message, "cause", "this SDK does not send it");
  }

  private Map<String, Object> payload() throws Exception {
    String value = "aé漢🙂".repeat(50_000);
    completed(start("payload", value), value);
    return Map.of("characters", value.codePointCount(0, value.length()));
  }

  private Map<String, Object> killed(String workflow, Map<String, Integer> counts) throws Exception {
    String id = start(workflow, prefix);
    until("the gate", () -> Ledger.exists(prefix + "-gate"));
    at("gate");
    completed(id, "done");
    return ran(counts);
  }

  private Map<String, Object> restarted() throws Exception {
    String id = start("restarted", prefix);
    hasCustomStatus(id, "sleeping");
    at("timer");
    completed(id, "done");
    return ran(Map.of("first", 1, "second", 1));
  }

  private String start(String workflow, Object input) {
    return client.scheduleNewWorkflow(workflow, input, prefix + "-" + workflow);
  }

  private WorkflowState outcome(String id) throws Exception {
    WorkflowState[] state = new WorkflowState[1];
    until("the end of " + id, () -> {
      state[0] = client.waitForWorkflowCompletion(id, PATIENCE, true);
      return state[0] != null;
    });
    return state[0];
  }

  private Map<String, Object> completed(String id, Object output) throws Exception {
    WorkflowState state = outcome(id);
    String failure = state.getFailureDetails() == null ? "" : state.getFailureDetails().getErrorMessage();
    check(state.getRuntimeStatus() == WorkflowRuntimeStatus.COMPLETED, state.getRuntimeStatus() + " " + failure);
    ObjectMapper mapper = new ObjectMapper();
    equal(mapper.readTree(state.getSerializedOutput()), mapper.valueToTree(output));
    return NOTHING;
  }

  private void hasStatus(String id, WorkflowRuntimeStatus wanted) throws Exception {
    until("status " + wanted, () -> client.getWorkflowState(id, true).getRuntimeStatus() == wanted);
  }

  private void hasCustomStatus(String id, String wanted) throws Exception {
    until(
        "custom status " + wanted,
        () -> wanted.equals(hub.getInstanceMetadata(id, true).readCustomStatusAs(String.class)));
  }

  private Map<String, Object> ran(Map<String, Integer> counts) {
    counts.forEach((name, times) -> equal(name + " " + Ledger.count(prefix + "-" + name), name + " " + times));
    return Map.copyOf(counts);
  }

  /** Polls, and goes on while the server is away. */
  private static void until(String what, Callable<Boolean> condition) throws Exception {
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    while (true) {
      try {
        if (condition.call()) {
          return;
        }
      } catch (StatusRuntimeException error) {
        if (!isAway(error.getStatus())) {
          throw error;
        }
      }
      if (System.nanoTime() > deadline) {
        throw new TimeoutException("waited " + PATIENCE.toSeconds() + " s for " + what);
      }
      Thread.sleep(POLL_MILLISECONDS);
    }
  }

  /** Whether a call ended because the server went; grpc-java says UNKNOWN of a channel that broke under it (#10474). */
  private static boolean isAway(Status status) {
    return AWAY.contains(status.getCode())
        || (status.getCode() == Status.Code.UNKNOWN && "channel closed".equals(status.getDescription()));
  }

  private static void at(String where) {
    System.out.println("AT " + where);
    System.out.flush();
  }

  private static void equal(Object one, Object other) {
    check(Objects.equals(one, other), one + " is not " + other);
  }

  private static void check(boolean holds, String otherwise) {
    if (!holds) {
      throw new AssertionError(otherwise);
    }
  }
}
