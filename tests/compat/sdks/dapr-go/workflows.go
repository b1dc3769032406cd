package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/dapr/go-sdk/workflow"
	"github.com/microsoft/durabletask-go/task"
)

const (
	fan    = 50
	events = 5
	long   = 350

	workMilliseconds = 30
)

// forever is a wait for an event without a timeout.
const forever = time.Duration(-1)

type squareInput struct {
	Number int
	Name   string
}

var activities = []workflow.Activity{addOne, double, echo, note, square, slow, broken, work}

var workflows = []workflow.Workflow{
	chaining, fanOut, parent, child, timer, eventAfterTimer, event, eventOrTimeout, collect, family, failing,
	payload, longRun, killedTurn, killedActivity, restarted, storm, squall,
}

type stormInput struct {
	Id      string `json:"id"`
	Number  int    `json:"number"`
	Padding string `json:"padding"`
}

type workInput struct {
	Name   string `json:"name"`
	Number int    `json:"number"`
}

func addOne(ctx workflow.ActivityContext) (any, error) {
	var number int
	err := ctx.GetInput(&number)
	return number + 1, err
}

func double(ctx workflow.ActivityContext) (any, error) {
	var number int
	err := ctx.GetInput(&number)
	return number * 2, err
}

func echo(ctx workflow.ActivityContext) (any, error) {
	var value any
	err := ctx.GetInput(&value)
	return value, err
}

func note(ctx workflow.ActivityContext) (any, error) {
	var name string
	if err := ctx.GetInput(&name); err != nil {
		return nil, err
	}
	return nil, appendLine(name, "ran")
}

func square(ctx workflow.ActivityContext) (any, error) {
	var input squareInput
	if err := ctx.GetInput(&input); err != nil {
		return nil, err
	}
	return input.Number * input.Number, appendLine(input.Name, "ran")
}

func slow(ctx workflow.ActivityContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := appendLine(prefix+"-slow", "ran"); err != nil {
		return nil, err
	}
	return nil, gate(prefix + "-gate")
}

func broken(workflow.ActivityContext) (any, error) {
	return nil, fmt.Errorf("the parcel is lost: %w", errors.New("the van is full"))
}

func work(ctx workflow.ActivityContext) (any, error) {
	var input workInput
	if err := ctx.GetInput(&input); err != nil {
		return nil, err
	}
	if err := appendLine(input.Name, fmt.Sprintf("begun %d", time.Now().UnixMilli())); err != nil {
		return nil, err
	}
	time.Sleep(workMilliseconds * time.Millisecond)
	return input.Number + 1, appendLine(input.Name, fmt.Sprintf("done %d", time.Now().UnixMilli()))
}

func chaining(ctx *workflow.WorkflowContext) (any, error) {
	var number int
	if err := ctx.GetInput(&number); err != nil {
		return nil, err
	}
	for range 3 {
		if err := ctx.CallActivity(addOne, workflow.ActivityInput(number)).Await(&number); err != nil {
			return nil, err
		}
	}
	return number, nil
}

func fanOut(ctx *workflow.WorkflowContext) (any, error) {
	var name string
	if err := ctx.GetInput(&name); err != nil {
		return nil, err
	}
	calls := workflow.NewTaskSlice(fan)
	for number := range calls {
		calls[number] = ctx.CallActivity(square, workflow.ActivityInput(squareInput{number, name}))
	}
	sum := 0
	for _, call := range calls {
		var squared int
		if err := call.Await(&squared); err != nil {
			return nil, err
		}
		sum += squared
	}
	return sum, nil
}

func parent(ctx *workflow.WorkflowContext) (any, error) {
	var number int
	if err := ctx.GetInput(&number); err != nil {
		return nil, err
	}
	err := ctx.CallChildWorkflow(child, workflow.ChildWorkflowInput(number)).Await(&number)
	return number, err
}

func child(ctx *workflow.WorkflowContext) (any, error) {
	var number int
	if err := ctx.GetInput(&number); err != nil {
		return nil, err
	}
	err := ctx.CallActivity(double, workflow.ActivityInput(number)).Await(&number)
	return number, err
}

func timer(ctx *workflow.WorkflowContext) (any, error) {
	return "fired", ctx.CreateTimer(time.Second).Await(nil)
}

func eventAfterTimer(ctx *workflow.WorkflowContext) (any, error) {
	if err := ctx.CreateTimer(time.Second).Await(nil); err != nil {
		return nil, err
	}
	var data any
	err := ctx.WaitForExternalEvent("parcel", forever).Await(&data)
	return data, err
}

func event(ctx *workflow.WorkflowContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := ctx.CallActivity(note, workflow.ActivityInput(prefix+"-waiting")).Await(nil); err != nil {
		return nil, err
	}
	var data any
	err := ctx.WaitForExternalEvent("parcel", forever).Await(&data)
	return data, err
}

func eventOrTimeout(ctx *workflow.WorkflowContext) (any, error) {
	var data any
	err := ctx.WaitForExternalEvent("parcel", time.Second).Await(&data)
	if errors.Is(err, task.ErrTaskCanceled) {
		return "timed out", nil
	}
	return data, err
}

func collect(ctx *workflow.WorkflowContext) (any, error) {
	var seen []int
	if err := ctx.GetInput(&seen); err != nil {
		return nil, err
	}
	var item int
	if err := ctx.WaitForExternalEvent("item", forever).Await(&item); err != nil {
		return nil, err
	}
	seen = append(seen, item)
	if len(seen) < events {
		ctx.ContinueAsNew(seen, true)
	}
	return seen, nil
}

func family(ctx *workflow.WorkflowContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	id := workflow.ChildWorkflowInstanceID(prefix + "-child")
	return nil, ctx.CallChildWorkflow(event, workflow.ChildWorkflowInput(prefix), id).Await(nil)
}

func failing(ctx *workflow.WorkflowContext) (any, error) {
	return nil, ctx.CallActivity(broken).Await(nil)
}

func payload(ctx *workflow.WorkflowContext) (any, error) {
	var value string
	if err := ctx.GetInput(&value); err != nil {
		return nil, err
	}
	err := ctx.CallActivity(echo, workflow.ActivityInput(value)).Await(&value)
	return value, err
}

func longRun(ctx *workflow.WorkflowContext) (any, error) {
	number := 0
	for number < long {
		if err := ctx.CallActivity(addOne, workflow.ActivityInput(number)).Await(&number); err != nil {
			return nil, err
		}
	}
	return number, nil
}

func killedTurn(ctx *workflow.WorkflowContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := ctx.CallActivity(note, workflow.ActivityInput(prefix+"-first")).Await(nil); err != nil {
		return nil, err
	}
	if err := gate(prefix + "-gate"); err != nil {
		return nil, err
	}
	return "done", ctx.CallActivity(note, workflow.ActivityInput(prefix+"-second")).Await(nil)
}

func killedActivity(ctx *workflow.WorkflowContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := ctx.CallActivity(note, workflow.ActivityInput(prefix+"-first")).Await(nil); err != nil {
		return nil, err
	}
	return "done", ctx.CallActivity(slow, workflow.ActivityInput(prefix)).Await(nil)
}

func restarted(ctx *workflow.WorkflowContext) (any, error) {
	var prefix string
	if err := ctx.GetInput(&prefix); err != nil {
		return nil, err
	}
	if err := ctx.CallActivity(note, workflow.ActivityInput(prefix+"-first")).Await(nil); err != nil {
		return nil, err
	}
	if err := ctx.CreateTimer(3 * time.Second).Await(nil); err != nil {
		return nil, err
	}
	return "done", ctx.CallActivity(note, workflow.ActivityInput(prefix+"-second")).Await(nil)
}

func storm(ctx *workflow.WorkflowContext) (any, error) {
	var input stormInput
	if err := ctx.GetInput(&input); err != nil {
		return nil, err
	}
	sum, number := 0, 0
	if err := call(ctx, input.Id+"-first", input.Number).Await(&sum); err != nil {
		return nil, err
	}
	var calls []task.Task
	for _, each := range []string{"a", "b", "c"} {
		calls = append(calls, call(ctx, input.Id+"-"+each, input.Number))
	}
	for _, each := range calls {
		if err := each.Await(&number); err != nil {
			return nil, err
		}
		sum += number
	}
	if err := ctx.CreateTimer(500 * time.Millisecond).Await(nil); err != nil {
		return nil, err
	}
	if err := ctx.CallChildWorkflow(squall, workflow.ChildWorkflowInput(input)).Await(&number); err != nil {
		return nil, err
	}
	sum += number
	if err := ctx.WaitForExternalEvent("go", forever).Await(&number); err != nil {
		return nil, err
	}
	sum += number
	if err := call(ctx, input.Id+"-last", input.Number).Await(&number); err != nil {
		return nil, err
	}
	return sum + number, nil
}

func squall(ctx *workflow.WorkflowContext) (any, error) {
	var input stormInput
	if err := ctx.GetInput(&input); err != nil {
		return nil, err
	}
	var number int
	err := call(ctx, input.Id+"-child", input.Number).Await(&number)
	return number, err
}

func call(ctx *workflow.WorkflowContext, name string, number int) task.Task {
	return ctx.CallActivity(work, workflow.ActivityInput(workInput{name, number}))
}
