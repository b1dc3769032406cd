package compat;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.dapr.durabletask.DurableTaskClient;
import io.dapr.durabletask.DurableTaskGrpcClientBuilder;
import io.dapr.workflows.Workflow;
import io.dapr.workflows.WorkflowStub;
import io.dapr.workflows.client.DaprWorkflowClient;
import io.dapr.workflows.runtime.WorkflowRuntime;
import io.dapr.workflows.runtime.WorkflowRuntimeBuilder;
import java.util.HashMap;
import java.util.Map;

/** The scenarios of ../../README.md with the published io.dapr:dapr-sdk-workflows. */
public final class Program {
  private Program() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments[0].equals("worker")) {
      work();
      return;
    }
    Map<String, Object> report = drive(arguments[1], arguments[2]);
    System.out.println(new ObjectMapper().writeValueAsString(report));
    System.out.flush();
    System.exit(Boolean.FALSE.equals(report.get("ok")) ? 1 : 0);
  }

  private static void work() {
    WorkflowRuntimeBuilder builder = new WorkflowRuntimeBuilder();
    Workflows.WORKFLOWS.forEach((name, stub) -> builder.registerWorkflow(name, new Named(stub), null, null));
    Workflows.ACTIVITIES.forEach(builder::registerActivity);
    WorkflowRuntime runtime = builder.build();
    Runtime.getRuntime().addShutdownHook(new Thread(runtime::close));
    runtime.start(false);
    System.out.println("READY");
    System.out.flush();
  }

  private static Map<String, Object> drive(String scenario, String prefix) {
    int port = Integer.parseInt(System.getenv("COMPAT_PORT"));
    Map<String, Object> report = new HashMap<>();
    try (DaprWorkflowClient client = new DaprWorkflowClient();
        DurableTaskClient hub = new DurableTaskGrpcClientBuilder().port(port).build()) {
      report.putAll(new Scenarios(client, hub, prefix).run(scenario));
      if (!report.containsKey("unsupported")) {
        report.put("ok", true);
      }
    } catch (Exception | AssertionError error) {
      report.put("ok", false);
      report.put("error", String.valueOf(error));
    }
    return report;
  }

  private record Named(WorkflowStub stub) implements Workflow {
    @Override
    public WorkflowStub create() {
      return stub;
    }
  }
}
