//! Tests of the backend that need no daemon.

use super::*;

pub(in super::super) use super::specs::tests::spec;

#[test]
fn compose_builds_the_images_that_runs_use() {
    let compose = include_str!("../../../../compose.yaml");
    for image in IMAGES {
        assert!(compose.contains(&format!("image: {image}\n")), "compose.yaml does not name {image}");
    }
}

#[tokio::test]
async fn clients_are_assigned_round_robin_and_a_docker_host_given_twice_counts_once() {
    let docker_host = |url: &str| DockerHost::unchecked(url).unwrap();
    let shop = ShopAddress::published("192.0.2.1", 5000).unwrap();
    let [a, b, c] = ["tcp://192.0.2.1:2375", "tcp://192.0.2.2:2375", "tcp://192.0.2.3:2375"];
    let backend =
        DockerBackend::on_several(docker_host(a), vec![docker_host(b), docker_host(c), docker_host(b)], shop.clone())
            .unwrap();
    assert_eq!(backend.docker_hosts.len(), 3);
    let urls: Vec<&str> = (1..=4).map(|number| backend.docker_host(Node::Client(number)).url()).collect();
    assert_eq!((backend.docker_host(Node::Server).url(), urls), (a, vec![b, c, b, b]));
    let error = DockerBackend::on_several(docker_host(a), vec![docker_host(b), docker_host(a)], shop)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains(a), "{error}");
}
