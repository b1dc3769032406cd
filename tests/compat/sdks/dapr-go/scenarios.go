package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dapr/go-sdk/workflow"
	"github.com/microsoft/durabletask-go/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	patience = 45 * time.Second
	poll     = 50 * time.Millisecond
)

type facts = map[string]any

type scenario func(context.Context, *workflow.Client, string) (facts, error)

var scenarios = map[string]scenario{
	"chaining":               driveChaining,
	"fan-out-50":             driveFanOut,
	"child":                  driveChild,
	"timer":                  driveTimer,
	"event-before":           driveEventBefore,
	"event-after":            driveEventAfter,
	"event-timeout":          driveEventTimeout,
	"continue-as-new":        driveContinueAsNew,
	"suspend-resume":         driveSuspendResume,
	"terminate-recursive":    driveTerminate,
	"purge":                  drivePurge,
	"payload-200k":           drivePayload,
	"history-1000":           driveHistory,
	"worker-killed-turn":     driveKilledTurn,
	"worker-killed-activity": driveKilledActivity,
	"server-restarted":       driveRestarted,
}

var gaps = map[string]string{
	"retry-third":     "CallActivity takes no retry policy",
	"retry-exhausted": "CallActivity takes no retry policy",
	"custom-status":   "a workflow cannot set a custom status",
	"query-list":      "the client has no call that lists instances",
	"failure-cause":   "the client does not hand out failure details",
}

func driveChaining(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "chaining", 1)
	if err != nil {
		return nil, err
	}
	return completed(ctx, client, id, 4)
}

func driveFanOut(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "fanOut", prefix+"-squares")
	if err != nil {
		return nil, err
	}
	if _, err := completed(ctx, client, id, 40_425); err != nil {
		return nil, err
	}
	return ran(prefix, map[string]int{"squares": fan})
}

func driveChild(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "parent", 21)
	if err != nil {
		return nil, err
	}
	return completed(ctx, client, id, 42)
}

func driveTimer(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	started := time.Now()
	id, err := start(ctx, client, prefix, "timer", nil)
	if err != nil {
		return nil, err
	}
	if _, err := completed(ctx, client, id, "fired"); err != nil {
		return nil, err
	}
	if took := time.Since(started); took < time.Second {
		return nil, fmt.Errorf("fired after %v", took)
	}
	return facts{"seconds": time.Since(started).Seconds()}, nil
}

func driveEventBefore(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "eventAfterTimer", nil)
	if err != nil {
		return nil, err
	}
	if err := client.RaiseEvent(ctx, id, "parcel", workflow.WithEventPayload("early")); err != nil {
		return nil, err
	}
	return completed(ctx, client, id, "early")
}

func driveEventAfter(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := startWaiting(ctx, client, prefix, "event")
	if err != nil {
		return nil, err
	}
	if err := client.RaiseEvent(ctx, id, "parcel", workflow.WithEventPayload("late")); err != nil {
		return nil, err
	}
	return completed(ctx, client, id, "late")
}

func driveEventTimeout(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "eventOrTimeout", nil)
	if err != nil {
		return nil, err
	}
	return completed(ctx, client, id, "timed out")
}

func driveContinueAsNew(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "collect", []int{})
	if err != nil {
		return nil, err
	}
	for item := 1; item <= events; item++ {
		if err := client.RaiseEvent(ctx, id, "item", workflow.WithEventPayload(item)); err != nil {
			return nil, err
		}
	}
	return completed(ctx, client, id, []int{1, 2, 3, 4, 5})
}

func driveSuspendResume(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := startWaiting(ctx, client, prefix, "event")
	if err != nil {
		return nil, err
	}
	if err := client.SuspendWorkflow(ctx, id, "a pause"); err != nil {
		return nil, err
	}
	if err := hasStatus(ctx, client, id, workflow.StatusSuspended); err != nil {
		return nil, err
	}
	if err := client.RaiseEvent(ctx, id, "parcel", workflow.WithEventPayload("kept")); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	if err := hasStatus(ctx, client, id, workflow.StatusSuspended); err != nil {
		return nil, err
	}
	if err := client.ResumeWorkflow(ctx, id, "go on"); err != nil {
		return nil, err
	}
	return completed(ctx, client, id, "kept")
}

func driveTerminate(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := startWaiting(ctx, client, prefix, "family")
	if err != nil {
		return nil, err
	}
	// Recursive, because this client always asks for that.
	if err := client.TerminateWorkflow(ctx, id, workflow.WithOutput("stopped")); err != nil {
		return nil, err
	}
	if err := ended(ctx, client, id, workflow.StatusTerminated, "stopped"); err != nil {
		return nil, err
	}
	state, err := outcome(ctx, client, prefix+"-child")
	if err == nil && state.RuntimeStatus != workflow.StatusTerminated {
		err = fmt.Errorf("the child is %v", state.RuntimeStatus)
	}
	return nil, err
}

func drivePurge(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "chaining", 1)
	if err != nil {
		return nil, err
	}
	if _, err := completed(ctx, client, id, 4); err != nil {
		return nil, err
	}
	if err := client.PurgeWorkflow(ctx, id); err != nil {
		return nil, err
	}
	if _, err := client.FetchWorkflowMetadata(ctx, id); !errors.Is(err, api.ErrInstanceNotFound) {
		return nil, fmt.Errorf("a purged instance was found: %v", err)
	}
	if err := client.PurgeWorkflow(ctx, prefix+"-unknown"); !errors.Is(err, api.ErrInstanceNotFound) {
		return nil, fmt.Errorf("an unknown instance was purged: %v", err)
	}
	return nil, nil
}

func drivePayload(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	value := strings.Repeat("aé漢🙂", 50_000)
	id, err := start(ctx, client, prefix, "payload", value)
	if err != nil {
		return nil, err
	}
	_, err = completed(ctx, client, id, value)
	return facts{"characters": len([]rune(value))}, err
}

func driveHistory(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "longRun", nil)
	if err != nil {
		return nil, err
	}
	return completed(ctx, client, id, long)
}

func driveKilledTurn(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	return driveKilled(ctx, client, prefix, "killedTurn", map[string]int{"first": 1, "second": 1})
}

func driveKilledActivity(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	return driveKilled(ctx, client, prefix, "killedActivity", map[string]int{"first": 1, "slow": 2})
}

func driveRestarted(ctx context.Context, client *workflow.Client, prefix string) (facts, error) {
	id, err := start(ctx, client, prefix, "restarted", prefix)
	if err != nil {
		return nil, err
	}
	if err := until(ctx, "the first activity", func(context.Context) (bool, error) { return exists(prefix + "-first"), nil }); err != nil {
		return nil, err
	}
	// This SDK has no custom status to see the timer by, so the client gives the turn its time.
	time.Sleep(time.Second)
	at("timer")
	if _, err := completed(ctx, client, id, "done"); err != nil {
		return nil, err
	}
	return ran(prefix, map[string]int{"first": 1, "second": 1})
}

func driveKilled(
	ctx context.Context, client *workflow.Client, prefix, name string, counts map[string]int,
) (facts, error) {
	id, err := start(ctx, client, prefix, name, prefix)
	if err != nil {
		return nil, err
	}
	if err := until(ctx, "the gate", func(context.Context) (bool, error) { return exists(prefix + "-gate"), nil }); err != nil {
		return nil, err
	}
	at("gate")
	if _, err := completed(ctx, client, id, "done"); err != nil {
		return nil, err
	}
	return ran(prefix, counts)
}

func start(ctx context.Context, client *workflow.Client, prefix, name string, input any) (string, error) {
	return client.ScheduleNewWorkflow(ctx, name, workflow.WithInstanceID(prefix+"-"+name), workflow.WithInput(input))
}

func startWaiting(ctx context.Context, client *workflow.Client, prefix, name string) (string, error) {
	id, err := start(ctx, client, prefix, name, prefix)
	if err != nil {
		return "", err
	}
	err = until(ctx, "the wait", func(context.Context) (bool, error) { return exists(prefix + "-waiting"), nil })
	// The ledger tells of the activity before the wait, so the client gives the turn its time.
	time.Sleep(300 * time.Millisecond)
	return id, err
}

func outcome(ctx context.Context, client *workflow.Client, id string) (state *workflow.Metadata, err error) {
	err = until(ctx, "the end of "+id, func(ctx context.Context) (bool, error) {
		state, err = client.WaitForWorkflowCompletion(ctx, id, workflow.WithFetchPayloads(true))
		return err == nil, err
	})
	return state, err
}

func completed(ctx context.Context, client *workflow.Client, id string, output any) (facts, error) {
	return nil, ended(ctx, client, id, workflow.StatusCompleted, output)
}

func ended(ctx context.Context, client *workflow.Client, id string, wanted workflow.Status, output any) error {
	state, err := outcome(ctx, client, id)
	if err != nil {
		return err
	}
	if state.RuntimeStatus != wanted {
		return fmt.Errorf("%s is %v: %+v", id, state.RuntimeStatus, state.FailureDetails)
	}
	expected, err := json.Marshal(output)
	if err == nil && !sameJSON(state.SerializedOutput, string(expected)) {
		err = fmt.Errorf("output %.200s, not %.200s", state.SerializedOutput, expected)
	}
	return err
}

func hasStatus(ctx context.Context, client *workflow.Client, id string, wanted workflow.Status) error {
	return until(ctx, "status "+wanted.String(), func(ctx context.Context) (bool, error) {
		state, err := client.FetchWorkflowMetadata(ctx, id)
		return err == nil && state.RuntimeStatus == wanted, err
	})
}

func ran(prefix string, counts map[string]int) (facts, error) {
	seen := facts{}
	for name, times := range counts {
		lines, err := count(prefix + "-" + name)
		if err != nil {
			return nil, err
		}
		if lines != times {
			return nil, fmt.Errorf("%s ran %d times, not %d", name, lines, times)
		}
		seen[name] = lines
	}
	return seen, nil
}

// until polls, and goes on while the server is away.
func until(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		done, err := condition(ctx)
		if err != nil && !away(err) && ctx.Err() == nil {
			return err
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v for %s (%v)", patience, what, err)
		case <-time.After(poll):
		}
	}
}

func away(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.Internal, codes.Unavailable:
		return true
	default:
		return false
	}
}

func sameJSON(one, other string) bool {
	var left, right any
	if json.Unmarshal([]byte(one), &left) != nil || json.Unmarshal([]byte(other), &right) != nil {
		return false
	}
	return fmt.Sprint(left) == fmt.Sprint(right)
}

func at(where string) {
	fmt.Println("AT", where)
}
