package planetest

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"balance/engine/plane"
)

// New makes the plane under test.
type New func(plane.Options) plane.Plane

// Run runs the suite. Its tests change limits of the process, so nothing else
// may run beside it.
func Run(t *testing.T, newPlane New) {
	// The runtime opens its poller at the first use of the network and keeps
	// it: no descriptor of a plane.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	for name, test := range map[string]func(*testing.T, New){
		"RoundTrip":          testRoundTrip,
		"IPv6":               testIPv6,
		"HalfCloseByClient":  testHalfCloseByClient,
		"HalfCloseByChannel": testHalfCloseByChannel,
		"ResetByClient":      testResetByClient,
		"ResetByChannel":     testResetByChannel,
		"ResetInBulk":        testResetInBulk,
		"ResetWhileStuck":    testResetWhileStuck,
		"ResetOfTheOther":    testResetOfTheOther,
		"ResetAtOnce":        testResetAtOnce,
		"ResetWhileDialling": testResetWhileDialling,
		"BytesThenReset":     testBytesThenReset,
		"BytesThenGone":      testBytesThenResetAtOnce,
		"HalfCloseDialling":  testHalfCloseWhileDialling,
		"Bulk":               testBulk,
		"SlowReader":         testSlowReader,
		"Failover":           testFailover,
		"NewChance":          testNewChance,
		"ManyAddresses":      testManyAddresses,
		"DeadAddresses":      testDeadAddresses,
		"Race":               testRace,
		"RaceTimeout":        testRaceTimeout,
		"RaceLateWinner":     testRaceLateWinner,
		"RaceAbandoned":      testRaceAbandoned,
		"Rerouted":           testRerouted,
		"NoChannel":          testNoChannel,
		"Tried":              testTried,
		"TriedAndLeft":       testTriedAndLeft,
		"Began":              testBegan,
		"ResetUnserved":      testResetUnserved,
		"Limit":              testLimit,
		"LimitInTurn":        testLimitInTurn,
		"Queue":              testQueue,
		"QueueLeft":          testQueueLeft,
		"QueueHalfClosed":    testQueueHalfClosed,
		"QueueTimeout":       testQueueTimeout,
		"QueueFull":          testQueueFull,
		"QueueReload":        testQueueReload,
		"QueueEnable":        testQueueEnable,
		"QueueOutOfService":  testQueueOutOfService,
		"QueueShortened":     testQueueShortened,
		"QueueAfterFailure":  testQueueAfterFailure,
		"QueueAbort":         testQueueAbort,
		"QueueFinish":        testQueueFinish,
		"QueueShutdown":      testQueueShutdown,
		"ConnectDeadline":    testConnectDeadline,
		"DeadlineInQueue":    testDeadlineInQueue,
		"Source":             testSource,
		"SelfConnect":        testSelfConnect,
		"IdleTimeout":        testIdleTimeout,
		"MaxAge":             testMaxAge,
		"HalfCloseTimeout":   testHalfCloseTimeout,
		"HalfCloseBegins":    testHalfCloseBegins,
		"UserTimeout":        testUserTimeout,
		"Overfull":           testOverfull,
		"OverfullAtOnce":     testOverfullAtOnce,
		"Hash":               testHash,
		"TimeoutChanges":     testTimeoutChanges,
		"Abort":              testAbort,
		"AbortDialling":      testAbortDialling,
		"Finish":             testFinish,
		"FinishInFlight":     testFinishInFlight,
		"FinishStuck":        testFinishStuck,
		"FinishAnswers":      testFinishAnswers,
		"FinishUnheard":      testFinishUnheard,
		"FinishDialling":     testFinishDialling,
		"Shutdown":           testShutdown,
		"ServeAnother":       testServeAnother,
		"Retire":             testRetire,
		"AdoptAgain":         testAdoptAgain,
		"Refuse":             testRefuse,
		"RefuseWhileFull":    testRefuseWhileFull,
		"OneDescriptor":      testOneDescriptor,
		"MaxSessions":        testMaxSessions,
		"ListenerMax":        testListenerMax,
		"ListenerMaxChurn":   testListenerMaxChurn,
		"NoDescriptors":      testNoDescriptors,
		"Dump":               testDump,
		"Urgent":             testUrgent,
		"UrgentThenReset":    testUrgentThenReset,
		"NoPort":             testNoPort,
		"NoSource":           testNoSource,
		"DumpUnread":         testDumpUnread,
		"Chain":              testChain,
		"Proxy":              testProxy,
		"ProxyOfOthers":      testProxyOfOthers,
		"ProxyPassedOn":      testProxyPassedOn,
		"SendProxy":          testSendProxy,
		"SendProxyAndListen": testSendProxyAndListen,
		"Refused":            testRefused,
		"RefusalsAreFew":     testRefusalsAreFew,
		"SourceIsGivenBack":  testSourceIsGivenBack,
		"GreetingFails":      testGreetingFails,
		"GreetingReload":     testGreetingReload,
		"GreetingRetire":     testGreetingOutlastsItsSocket,
		"GreetingShutdown":   testGreetingShutdown,
		"Crowded":            testCrowded,
		"Names":              testNames,
		"NoNames":            testNoNames,
		"Postgres":           testPostgres,
		"PostgresStuffed":    testPostgresStuffed,
		"PostgresDisagrees":  testPostgresDisagrees,
		"PostgresAborted":    testPostgresAborted,
		"PostgresAndProxy":   testPostgresBehindProxy,
		"Unix":               testUnix,
		"UnixAtOnce":         testUnixAtOnce,
		"UnixClientAtOnce":   testUnixClientAtOnce,
		"UnixResets":         testUnixResets,
		"UnixFailover":       testUnixFailover,
		"UnixBacklog":        testUnixBacklog,
		"UnixDescriptors":    testUnixDescriptors,
		"UnixEdge":           testUnixEdge,
		"UnixRetire":         testUnixRetire,
		"Transparent":        testTransparent,
		"Churn":              testChurn,
	} {
		t.Run(name, func(t *testing.T) {
			goroutines := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, goroutines) })
			test(t, newPlane)
		})
	}
}
