//! Resets are counted by who sent them (NLB `TCP_Client_Reset_Count`, `TCP_Target_Reset_Count`, `TCP_ELB_Reset_Count`).

use super::*;

#[test]
fn are_counted_for_the_listener_and_the_target_by_who_sent_them() {
    for mode in modes() {
        let mut path = mode.path();
        let refused = OpenFlow::open(&mut path, &mode.syn(), 0);
        refused.to_client(&mut path, &refused.reply(RST | ACK), 0);
        let flow = mode.connect(&mut path);
        flow.to_target(&mut path, &flow.request(RST), 1);
        flow.to_client(&mut path, &flow.reply(RST), 2);
        flow.to_target(&mut path, &flow.request(RST | ACK), 3);
        assert_reset(&mut path, &tcp(mode.client, mode.web(), FIN | ACK), Reason::ResetNoFlow, 400_000);
        let (listeners, targets) = (&path.counters().listeners, &path.counters().targets);
        let sum = |rows: &[TrafficCounters]| {
            let counters = rows.iter().map(|row| [&row.client_resets, &row.target_resets, &row.resets]);
            counters.fold([0; 3], |sum, row| std::array::from_fn(|at| sum[at] + row[at].value()))
        };
        assert_eq!(sum(listeners), [2, 2, 1], "{}", mode.name);
        assert_eq!(sum(targets), [2, 2, 0], "{}", mode.name);
    }
}
