.PHONY: up down clean logs status heal restock loadtest bench-balancer chaos test failover-times audit backup restore

up: ## sets up what is missing, builds, starts, waits, prints the addresses
	@scripts/up
down: ## stops the stack; data stays
	@scripts/down
clean: ## removes the stack with its data, images and settings
	@scripts/clean
logs: ## follows the logs
	@scripts/logs
status: ## every container, who leads where, what is down and what that means
	@scripts/status
heal: ## starts whatever should run
	@scripts/heal
restock: ## puts every print's stock back
	@scripts/restock
loadtest: ## an ordinary day for a minute, with a report; SCENARIO=breakpoint finds the limit (loadtest/README.md)
	@scripts/loadtest
bench-balancer: ## the balancer beside HAProxy and nginx on the same upstreams (loadtest/balancer/README.md)
	@loadtest/balancer/run
chaos: ## what customers notice while one part after another dies: a table
	@scripts/chaos
test: ## formatting, lints, unit, service, failover and system tests
	@scripts/test
failover-times: ## how long writes wait when parts of the data tier die: a table
	@scripts/failover-times
audit: ## orders, stock and payments agree to the row
	@scripts/audit
backup: ## takes a base backup now
	@scripts/backup
restore: ## brings the databases back to a moment: TO=2026-11-28T12:00:00Z or TO=latest
	@scripts/restore
