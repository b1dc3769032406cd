package compat;

import io.dapr.durabletask.Task;
import io.dapr.durabletask.TaskCanceledException;
import io.dapr.workflows.WorkflowActivity;
import io.dapr.workflows.WorkflowContext;
import io.dapr.workflows.WorkflowStub;
import io.dapr.workflows.WorkflowTaskOptions;
import io.dapr.workflows.WorkflowTaskRetryPolicy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/** The code that the worker runs, by name. */
final class Workflows {
  static final int FAN = 50;
  static final int EVENTS = 5;
  static final int LONG = 350;
  static final long WORK_MILLISECONDS = 30;

  static final Map<String, WorkflowActivity> ACTIVITIES = Map.of(
      "add_one", context -> context.getInput(Integer.class) + 1,
      "double", context -> context.getInput(Integer.class) * 2,
      "echo", context -> context.getInput(String.class),
      "note", context -> note(context.getInput(String.class)),
      "square", context -> square(context.getInput(Square.class)),
      "flaky", context -> flaky(context.getInput(Flaky.class)),
      "slow", context -> slow(context.getInput(String.class)),
      "work", context -> work(context.getInput(Work.class)),
      "broken", context -> {
        throw new IllegalStateException("the parcel is lost", new IllegalArgumentException("the van is full"));
      });

  static final Map<String, WorkflowStub> WORKFLOWS = Map.ofEntries(
      Map.entry("chaining", Workflows::chaining),
      Map.entry("fan_out", Workflows::fanOut),
      Map.entry("parent", context -> context.complete(
          context.callChildWorkflow("child", context.getInput(Integer.class), Integer.class).await())),
      Map.entry("child", context -> context.complete(
          context.callActivity("double", context.getInput(Integer.class), Integer.class).await())),
      Map.entry("timer", context -> {
        context.createTimer(Duration.ofSeconds(1)).await();
        context.complete("fired");
      }),
      Map.entry("event_after_timer", context -> {
        context.createTimer(Duration.ofSeconds(1)).await();
        context.complete(context.waitForExternalEvent("parcel", String.class).await());
      }),
      Map.entry("event", context -> {
        context.setCustomStatus("waiting");
        context.complete(context.waitForExternalEvent("parcel", String.class).await());
      }),
      Map.entry("event_or_timeout", Workflows::eventOrTimeout),
      Map.entry("retried", Workflows::retried),
      Map.entry("collect", Workflows::collect),
      Map.entry("statuses", context -> {
        context.setCustomStatus("before");
        context.waitForExternalEvent("parcel", String.class).await();
        context.setCustomStatus("after");
      }),
      Map.entry("failing", context -> context.callActivity("broken").await()),
      Map.entry("payload", context -> context.complete(
          context.callActivity("echo", context.getInput(String.class), String.class).await())),
      Map.entry("long", Workflows::longRun),
      Map.entry("killed_turn", Workflows::killedTurn),
      Map.entry("killed_activity", Workflows::killedActivity),
      Map.entry("restarted", Workflows::restarted),
      Map.entry("storm", Workflows::storm),
      Map.entry("squall", context -> {
        Storm input = context.getInput(Storm.class);
        context.complete(call(context, input.id() + "-child", input.number()).await());
      }));

  private Workflows() {}

  record Square(int number, String name) {}

  record Flaky(String name, int failures, int attempts) {}

  record Storm(String id, int number, String padding) {}

  record Work(String name, int number) {}

  private static void chaining(WorkflowContext context) {
    int number = context.getInput(Integer.class);
    for (int step = 0; step < 3; step++) {
      number = context.callActivity("add_one", number, Integer.class).await();
    }
    context.complete(number);
  }

  private static void fanOut(WorkflowContext context) {
    String name = context.getInput(String.class);
    List<Task<Integer>> calls = IntStream.range(0, FAN)
        .mapToObj(number -> context.callActivity("square", new Square(number, name), Integer.class))
        .toList();
    context.complete(context.allOf(calls).await().stream().mapToInt(Integer::intValue).sum());
  }

  private static void eventOrTimeout(WorkflowContext context) {
    try {
      context.complete(context.waitForExternalEvent("parcel", Duration.ofSeconds(1), String.class).await());
    } catch (TaskCanceledException error) {
      context.complete("timed out");
    }
  }

  private static void retried(WorkflowContext context) {
    Flaky input = context.getInput(Flaky.class);
    WorkflowTaskRetryPolicy policy = WorkflowTaskRetryPolicy.newBuilder()
        .setMaxNumberOfAttempts(input.attempts())
        .setFirstRetryInterval(Duration.ofMillis(50))
        .build();
    context.complete(
        context.callActivity("flaky", input, new WorkflowTaskOptions(policy), Integer.class).await());
  }

  private static void collect(WorkflowContext context) {
    List<Integer> seen = new ArrayList<>(Arrays.asList(context.getInput(Integer[].class)));
    seen.add(context.waitForExternalEvent("item", Integer.class).await());
    if (seen.size() < EVENTS) {
      context.continueAsNew(seen, true);
    } else {
      context.complete(seen);
    }
  }

  private static void longRun(WorkflowContext context) {
    int number = 0;
    while (number < LONG) {
      number = context.callActivity("add_one", number, Integer.class).await();
    }
    context.complete(number);
  }

  private static void killedTurn(WorkflowContext context) {
    String prefix = context.getInput(String.class);
    context.callActivity("note", prefix + "-first").await();
    Ledger.gate(prefix + "-gate");
    context.callActivity("note", prefix + "-second").await();
    context.complete("done");
  }

  private static void killedActivity(WorkflowContext context) {
    String prefix = context.getInput(String.class);
    context.callActivity("note", prefix + "-first").await();
    context.callActivity("slow", prefix).await();
    context.complete("done");
  }

  private static void restarted(WorkflowContext context) {
    String prefix = context.getInput(String.class);
    context.callActivity("note", prefix + "-first").await();
    context.setCustomStatus("sleeping");
    context.createTimer(Duration.ofSeconds(3)).await();
    context.callActivity("note", prefix + "-second").await();
    context.complete("done");
  }

  private static void storm(WorkflowContext context) {
    Storm input = context.getInput(Storm.class);
    int sum = call(context, input.id() + "-first", input.number()).await();
    List<Task<Integer>> calls = List.of("a", "b", "c").stream()
        .map(each -> call(context, input.id() + "-" + each, input.number()))
        .toList();
    sum += context.allOf(calls).await().stream().mapToInt(Integer::intValue).sum();
    context.createTimer(Duration.ofMillis(500)).await();
    sum += context.callChildWorkflow("squall", input, Integer.class).await();
    sum += context.waitForExternalEvent("go", Integer.class).await();
    context.complete(sum + call(context, input.id() + "-last", input.number()).await());
  }

  private static Task<Integer> call(WorkflowContext context, String name, int number) {
    return context.callActivity("work", new Work(name, number), Integer.class);
  }

  private static Object work(Work input) {
    Ledger.append(input.name(), "begun " + System.currentTimeMillis());
    try {
      Thread.sleep(WORK_MILLISECONDS);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
    Ledger.append(input.name(), "done " + System.currentTimeMillis());
    return input.number() + 1;
  }

  private static Object note(String name) {
    Ledger.append(name, "ran");
    return null;
  }

  private static Object square(Square input) {
    Ledger.append(input.name(), "ran");
    return input.number() * input.number();
  }

  private static Object flaky(Flaky input) {
    Ledger.append(input.name(), "ran");
    int runs = Ledger.count(input.name());
    if (runs <= input.failures()) {
      throw new IllegalStateException("not yet");
    }
    return runs;
  }

  private static Object slow(String prefix) {
    Ledger.append(prefix + "-slow", "ran");
    Ledger.gate(prefix + "-gate");
    return null;
  }
}
