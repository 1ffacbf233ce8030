//! Runs the parts that are wanted, one after another, and prints one table.

use super::arguments::{Arguments, Part};
use super::rows::Rows;
use super::{nginx, nodes, single_node};
use crate::context::Context;
use crate::error::{Result, io};
use crate::installation::proxy::NginxPrograms;
use crate::measure::report::print;
use std::path::Path;

/// Runs the suite against servers it starts; true when no guarantee was broken.
pub(crate) fn run(arguments: &Arguments, json: bool, template: &Context) -> Result<bool> {
    let extent = arguments.extent();
    std::fs::create_dir_all(&arguments.data).map_err(io("data folder"))?;
    let mut rows = Rows::default();
    let (binary, folder): (&Path, &Path) = (&arguments.server, &arguments.data);
    if arguments.wants(Part::Single) {
        single_node::run(binary, folder, extent, template, &mut rows)?;
    }
    let of_nodes = [Part::Bus, Part::Resumes, Part::ReconnectStorm];
    if of_nodes.into_iter().any(|part| arguments.wants(part)) {
        let nodes = nodes::Nodes {
            binary,
            redis: &arguments.redis,
            folder,
            extent,
            template,
        };
        nodes.run(|part| arguments.wants(part), &mut rows)?;
    }
    if let Some(nginx) = arguments.nginx.clone()
        && arguments.wants(Part::Nginx)
    {
        let render = arguments.render.clone();
        let programs = NginxPrograms { nginx, render };
        nginx::Proxied {
            binary,
            programs: &programs,
            folder,
            extent,
            template,
        }
        .run(&mut rows)?;
    }
    print(&if json {
        serde_json::json!({"rows": rows.rows, "faults": rows.faults}).to_string()
    } else {
        rows.table()
    });
    Ok(rows.faults == 0)
}
